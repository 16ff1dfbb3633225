"""Conversations: what was asked, shown and answered, and what the body remembers of reading it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ..models.janus import Janus
from ..processing.chat import Turn


@dataclass(frozen=True, eq=False)
class SavedPrefix:
    """Keys and values of tokens that a model has read, in main memory.

    Attention is causal: what was computed for the first tokens holds for any text that begins with them.
    The tensors are never changed, so conversations that begin alike hold the same ones.

    Attributes:
        model: which model read them; one that is gone is not kept for this.
        device: where it computed.
        content: what it read at each position, as `PromptBuilder.token_keys` tells it.
        image_embeds: [I, N, C] images that it read; None for text alone.
        parts: keys and values [L, H, t, D] of consecutive stretches.
    """

    model: weakref.ReferenceType[Janus]
    device: torch.device
    content: list[int]
    image_embeds: Tensor | None
    parts: tuple[tuple[Tensor, Tensor], ...]

    @property
    def num_bytes(self) -> int:
        """Memory that the keys and values take."""
        return sum(keys.nbytes + values.nbytes for keys, values in self.parts)

    def serves(self, model: Janus, device: torch.device, image_embeds: Tensor | None) -> bool:
        """Whether the same model, in the same dtype on the same device, would read these images alike."""
        if self.model() is not model or self.device != device:
            return False
        if self.parts[0][0].dtype != model.body.norm.weight.dtype:
            return False
        if self.image_embeds is None or image_embeds is None:
            return self.image_embeds is image_embeds
        # Nearly always the same tensor, which is told at once.
        return self.image_embeds is image_embeds or torch.equal(self.image_embeds, image_embeds)

    def first(self, length: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """The parts cut down to their first tokens."""
        parts = []
        for keys, values in self.parts:
            if length > 0:
                parts.append((keys[:, :, :length], values[:, :, :length]))
            length -= keys.shape[2]
        return tuple(parts)


@dataclass(frozen=True, eq=False)
class Conversation:
    """What was said about which images. It is never changed: each answer makes a new one.

    So it can be gone on with any number of times, each time in another direction.

    Attributes:
        folder: the checkpoint that saw the images; no other can make sense of their embeddings.
        system_prompt: stands before the turns; empty for none.
        turns: questions and answers, in order.
        image_embeds: [I, N, C] embeddings of all images in reading order, in main memory; None for none.
            Those that belong to no turn belong to the next question.
        tokens_read: tokens of the last prompt that the body read to answer it.
        tokens_reused: tokens of it whose keys and values were there already, remembered from before or read
            with another row.
        remembered: private to the pipeline. Without it, going on gives the same and reads everything anew.
    """

    folder: Path
    system_prompt: str = ""
    turns: tuple[Turn, ...] = ()
    image_embeds: Tensor | None = field(default=None, repr=False)
    tokens_read: int = 0
    tokens_reused: int = 0
    remembered: SavedPrefix | None = field(default=None, repr=False)

    @property
    def answer(self) -> str:
        """The last answer, without the space that a model writes between a role and its words."""
        return self.turns[-1].answer.strip() if self.turns else ""

    @property
    def num_images(self) -> int:
        """Images seen so far."""
        return 0 if self.image_embeds is None else len(self.image_embeds)

    @property
    def num_waiting(self) -> int:
        """Images that belong to the next question."""
        return self.num_images - sum(turn.num_images for turn in self.turns)

    def before(self, turn: int) -> Conversation:
        """The same without the turns from the `turn`-th on (-1: without the last); all images stay.

        `before(0)` asks about the same images afresh, `before(-1)` the last question again.
        """
        return replace(self, turns=self.turns[:turn])

    def answered(self, answer: str) -> Conversation:
        """The same with another last answer, as if the model had written it."""
        return replace(self, turns=(*self.turns[:-1], replace(self.turns[-1], answer=answer)))


@dataclass(frozen=True)
class Questions:
    """Rows that go on from one conversation, each with a question.

    Attributes:
        start: what came before.
        texts: one question per row.
        rows: index of each row in a larger batch, for its seed.
        num_new: images that come with each question.
        num_shared: how many of these, from the first on, are the same in all rows.
        embeds: gives the new images [B, num_new, N, C] of some rows, or None without any.
        chunks: rows that are computed together.
    """

    start: Conversation
    texts: Sequence[str]
    rows: Sequence[int]
    num_new: int
    num_shared: int
    embeds: Callable[[range], Tensor | None]
    chunks: Sequence[range]

    @property
    def num_images(self) -> int:
        """Images that belong to each question."""
        return self.start.num_waiting + self.num_new

    @property
    def alike(self) -> bool:
        """Whether all rows see the same images."""
        return self.num_shared == self.num_new


def common_length(rows: Sequence[list[int]]) -> int:
    """Numbers at the start that all rows have in common."""
    # Of rows in order, the first and the last differ soonest.
    pairs = list(zip(min(rows), max(rows), strict=False))
    return next((index for index, (first, last) in enumerate(pairs) if first != last), len(pairs))


def with_unique_image_ids(contents: list[list[int]], num_shared: int) -> list[list[int]]:
    """The contents of rows, images after the first `num_shared` numbered so that no two rows share one.

    Args:
        contents: what the body reads in each row, as `PromptBuilder.token_keys` tells it.
        num_shared: images at the start that all rows share.
    """
    lowest = min(map(min, contents))
    if lowest >= -num_shared:
        return contents
    return [
        [value if value >= -num_shared else value + lowest * (row + 1) for value in content]
        for row, content in enumerate(contents)
    ]


def images_between(
    image_embeds: Tensor | None, content: Sequence[int], start: int, stop: int | None = None
) -> Tensor | None:
    """What stands at the image positions from `start` to before `stop`.

    Args:
        image_embeds: [B, I, N, C] of all images of rows, or None.
        content: of one of the rows, which have their images at the same places up to `start` and `stop`.
        start: first position.
        stop: the position after the last; None for the end.

    Returns:
        [B, n, C], or None if no image stands there.
    """
    first, last = (sum(value < 0 for value in content[:end]) for end in (start, stop))
    return None if image_embeds is None or first == last else image_embeds.flatten(1, 2)[:, first:last]
