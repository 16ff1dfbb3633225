"""Conversations with a model: turns, images and the saved KV cache."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ..arguments import checked_text
from ..processing.chat import DEFAULT_SYSTEM_PROMPT, Turn
from .answer import EOS, Answer
from .inputs import check_embeds
from .prefix import SavedPrefix
from .runtime import AppliedAdapter, Runtime


@dataclass(frozen=True, eq=False)
class Conversation:
    """Questions and answers about images. Immutable: each answer makes a new conversation.

    Any number of branches can therefore continue from the same one.

    Attributes:
        folder: the checkpoint that encoded the images; their embeddings mean nothing to another.
        system_prompt: text before the first turn; empty for none.
        turns: questions and answers, in order.
        image_embeds: [I, N, C] embeddings of all images in reading order, on the CPU; None for none. Images
            that belong to no turn yet are shown with the next question.
        tokens_read: tokens of the last prompt that were computed.
        tokens_reused: tokens of the last prompt whose keys and values came from a saved prefix or from
            another sequence of the batch.
        vision_adapters: LoRA adapters that took part in encoding the images.
        unfamiliar: `VisionFeatures.unfamiliar` of all images.
        saved_prefix: internal. Without it, the next turn gives the same answer but recomputes the prompt.
    """

    folder: Path
    system_prompt: str = ""
    turns: tuple[Turn, ...] = ()
    image_embeds: Tensor | None = field(default=None, repr=False)
    tokens_read: int = 0
    tokens_reused: int = 0
    vision_adapters: tuple[AppliedAdapter, ...] = ()
    unfamiliar: tuple[bool, ...] = ()
    saved_prefix: SavedPrefix | None = field(default=None, repr=False)

    @property
    def answer(self) -> Answer:
        """The last answer, without the space that a model writes after the role text."""
        if not self.turns:
            return Answer("")
        last = self.turns[-1]
        return Answer(last.answer.strip(), last.finish_reason, any(self.unfamiliar))

    @property
    def num_images(self) -> int:
        """All images so far."""
        return 0 if self.image_embeds is None else len(self.image_embeds)

    @property
    def num_waiting(self) -> int:
        """Images that will be shown with the next question."""
        return self.num_images - sum(turn.num_images for turn in self.turns)

    def before(self, turn: int) -> Conversation:
        """The same conversation cut before the `turn`-th turn (-1: before the last); all images stay.

        `before(0)` starts over with the same images, `before(-1)` asks the last question again.
        """
        return replace(self, turns=self.turns[:turn])

    def answered(self, answer: str, finish_reason: str = EOS) -> Conversation:
        """The same conversation with another last answer, as if the model had written it."""
        last = replace(self.turns[-1], answer=answer, finish_reason=finish_reason)
        return replace(self, turns=(*self.turns[:-1], last))


def start_conversation(
    conversation: Conversation | None, system_prompt: str | None, runtime: Runtime
) -> Conversation:
    """The conversation to continue, or a new one.

    Raises:
        ValueError: if the conversation is not one, or is about images that another checkpoint encoded, or
            other adapters.
    """
    folder, adapters = runtime.folder, runtime.vision_adapters
    if system_prompt is not None:
        checked_text("system_prompt", system_prompt, "leave it empty for none", may_be_blank=True)
    if conversation is None:
        system_prompt = DEFAULT_SYSTEM_PROMPT if system_prompt is None else system_prompt
        return Conversation(folder, system_prompt, vision_adapters=adapters)
    if not isinstance(conversation, Conversation):
        raise ValueError(
            f"conversation must be what chat or converse returned, got {type(conversation).__name__}; "
            "pass None to start one"
        )
    if system_prompt not in (None, conversation.system_prompt):
        raise ValueError(f"system_prompt must be the conversation's own, got {system_prompt!r}; leave it out")
    if conversation.image_embeds is None:
        return replace(conversation, folder=folder, vision_adapters=adapters)
    if conversation.folder != folder:
        raise ValueError(
            "conversation must continue with the checkpoint that encoded its images, "
            f"{conversation.folder.name!r}, got {folder.name!r}; start a new one with the images"
        )
    if conversation.vision_adapters != adapters:
        raise ValueError(
            "conversation must continue with the LoRA adapters that encoded its images, "
            f"{_named(conversation.vision_adapters)}, got {_named(adapters)}; start a new one with the images"
        )
    check_embeds("images of the conversation", conversation.image_embeds, runtime.embeds_shape)
    return conversation


def _named(adapters: tuple[AppliedAdapter, ...]) -> str:
    return ", ".join(f"{adapter.name!r} at {adapter.strength}" for adapter in adapters) or "none"
