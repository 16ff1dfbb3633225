"""Answering rows that begin alike: a common beginning is read once, and what is remembered not again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models.cache import KVCache
from ..models.janus import Janus
from ..processing.chat import Turn
from ..processing.prompts import PromptBuilder
from ..sampling.decoding import prefill
from ..sampling.options import MAX_SEED, TextSampling
from ..sampling.steps import OnStep, part_of
from ..sampling.text import initial_answer_slots, sample_text
from .conversation import (
    Conversation,
    Questions,
    SavedPrefix,
    common_length,
    images_between,
    with_unique_image_ids,
)

# Keys and values that the conversations of one call keep in main memory; rows beyond it are read anew.
REMEMBERED_BYTES = 2 * 2**30

# How often an answer may be tried that has to have a form, and how the later tries differ.
ATTEMPTS = 4
RETRY_TEMPERATURE = 0.7
# Beyond the rows of any batch, and within the 32 bits of a seed that torch's CPU generator looks at.
RETRY_SEED_STEP = 1_000_003

Check = Callable[[str], str]
"""Gives an answer in the form that is wanted; raises ValueError if it has another."""


@dataclass(frozen=True)
class Answerer:
    """Writes answers, and keeps what was read for whoever goes on.

    Attributes:
        model: the network.
        prompts: text to token rows.
        device: where the model computes.
    """

    model: Janus
    prompts: PromptBuilder
    device: torch.device

    def answer(
        self,
        questions: Questions,
        options: TextSampling,
        check: Check | None,
        remember: bool,
        on_step: OnStep,
    ) -> Iterator[Conversation]:
        """Yields one conversation per row.

        Args:
            questions: the rows.
            options: how answers are written.
            check: the form that answers have to have; None for any.
            remember: whether the conversations keep keys and values, for whoever goes on with them.
            on_step: told of every step; may raise to cancel.

        Raises:
            ValueError: if a question does not fit.
            RuntimeError: if an answer still has the wrong form after `ATTEMPTS`.
        """
        # A question that has to be asked again is not read again.
        written = self._written(questions, options, remember or check is not None, on_step)
        for row, conversation in enumerate(written):
            if check is not None:
                conversation = self._checked(conversation, questions.rows[row], options, check, on_step)
            yield conversation if remember else replace(conversation, remembered=None)

    def _checked(
        self, conversation: Conversation, row: int, options: TextSampling, check: Check, on_step: OnStep
    ) -> Conversation:
        """The answer in its form; the question is asked again until it has one."""
        first, tokens_read, problem = conversation, 0, None
        for attempt in range(ATTEMPTS):
            if attempt > 0:
                again = Questions(
                    conversation.before(-1),
                    [first.turns[-1].question],
                    [0],
                    0,
                    0,
                    lambda chunk: None,
                    [range(1)],
                )
                seed = (int(options.seed) + row + attempt * RETRY_SEED_STEP) & MAX_SEED
                varied = replace(options, seed=seed, temperature=options.temperature or RETRY_TEMPERATURE)
                (conversation,) = self._written(again, varied, True, on_step)
            tokens_read += conversation.tokens_read
            try:
                answered = conversation.answered(check(conversation.answer))
            except ValueError as error:
                problem = error
            else:
                return replace(answered, tokens_read=tokens_read, tokens_reused=first.tokens_reused)
        raise RuntimeError(f"{problem} (row {row + 1}, the last of {ATTEMPTS} attempts)") from problem

    def _written(
        self, questions: Questions, options: TextSampling, remember: bool, on_step: OnStep
    ) -> Iterator[Conversation]:
        start, prompts, room = questions.start, self.prompts, REMEMBERED_BYTES
        rows = [
            prompts.question(text, questions.num_images, start.system_prompt, start.turns)
            for text in questions.texts
        ]
        # All prompts before any image is encoded, so that one that does not fit costs nothing.
        name = "conversation" if start.turns else "prompt"
        batches = [prompts.batch([rows[row] for row in chunk], name=name) for chunk in questions.chunks]
        contents = [prompts.token_keys(row) for row in rows]
        begin: _Beginning | None = None
        for index, (chunk, batch) in enumerate(zip(questions.chunks, batches, strict=True)):
            embeds = self._embeds(start, questions.embeds(chunk), len(chunk))
            if begin is None:
                begin = self._begin(questions, rows[0], contents, embeds, remember)
                room -= self._num_bytes(begin.length - begin.reused)
            rest = batch.part(begin.length)
            end = begin.length + rest.length
            cache = begin.cache.repeat(len(chunk), end + initial_answer_slots(options))
            tokens = sample_text(
                self.model,
                rest.to(self.device),
                images_between(embeds, contents[0], begin.length),
                options,
                prompts.tokenizer.eos_id,
                [questions.rows[row] for row in chunk],
                part_of(on_step, index, len(questions.chunks)),
                cache,
            )
            for number, row in enumerate(chunk):
                ids, images, remembered = tokens[number].tolist(), begin.images, None
                if embeds is not None and not questions.alike:
                    images = embeds[number].to("cpu", copy=True)
                # What was drawn last was not read any more; what follows an answer's end is filling.
                ends = [place for place, token in enumerate(ids) if token == prompts.tokenizer.eos_id]
                read = ids[: min([cache.length - end, *(place + 1 for place in ends[:1])])]
                size = self._num_bytes(len(rows[row]) + len(read) - begin.length)
                if remember and size <= room:
                    room -= size
                    own = cache.saved(number, begin.length, end + len(read))
                    reader, parts = weakref.ref(self.model), (*begin.parts, own)
                    remembered = SavedPrefix(reader, self.device, contents[row] + read, images, parts)
                turn = Turn(questions.texts[row], questions.num_images, prompts.tokenizer.decode(ids))
                reused = begin.length if row else begin.reused
                yield replace(
                    start,
                    turns=(*start.turns, turn),
                    image_embeds=images,
                    tokens_read=len(rows[row]) - reused,
                    tokens_reused=reused,
                    remembered=remembered,
                )

    def _num_bytes(self, length: int) -> int:
        """Size of the keys and values of some tokens."""
        return KVCache.num_bytes(self.model.body.config, 1, length, self.model.body.norm.weight.dtype)

    def _embeds(self, start: Conversation, new: Tensor | None, count: int) -> Tensor | None:
        """Embeddings [count, I, N, C] of the images of some rows, those of the conversation first."""
        if start.image_embeds is None:
            return new
        earlier = start.image_embeds.to(self.device).expand(count, -1, -1, -1)
        return earlier if new is None else torch.cat((earlier, new), dim=1)

    def _begin(
        self,
        questions: Questions,
        row: list[int],
        contents: list[list[int]],
        embeds: Tensor | None,
        remember: bool,
    ) -> _Beginning:
        """Reads what all rows begin with, as far as it is worth a pass of its own and not remembered."""
        past = questions.start.remembered
        if past is not None and not past.serves(self.model, self.device, questions.start.image_embeds):
            past = None
        # The last token of a row is read with the row: what comes next is told by its hidden state.
        most = min(map(len, contents)) - 1
        reused = 0 if past is None else min(most, common_length([past.content, *contents]))
        shared = min(
            most,
            common_length(with_unique_image_ids(contents, questions.start.num_images + questions.num_shared)),
        )
        longest = max(map(len, contents))
        if len(contents) == 1 or shared - reused <= longest - shared:
            shared = reused

        cache = self.model.body.new_cache(1, shared, self.device)
        parts = () if past is None else past.first(reused)
        for keys, values in parts:
            cache.restore(keys, values)
        if shared > reused:
            part = self.prompts.batch([row]).part(reused, shared).to(self.device)
            images = images_between(None if embeds is None else embeds[:1], contents[0], reused, shared)
            prefill(self.model, part, self.model.embed_prompt(part, images), cache=cache)
            parts = (*parts, cache.saved(0, reused, shared)) if remember else ()
        images = questions.start.image_embeds
        if embeds is not None and questions.num_new and questions.alike:
            images = embeds[0].to("cpu", copy=True)
        return _Beginning(shared, reused, cache, parts, images)


@dataclass(frozen=True)
class _Beginning:
    """What all rows of a call begin with.

    Attributes:
        length: its tokens.
        reused: how many of them were remembered.
        cache: one row that has read them.
        parts: their keys and values in main memory, if they are to be remembered.
        images: [I, N, C] embeddings of their images in main memory, if all rows see the same.
    """

    length: int
    reused: int
    cache: KVCache
    parts: tuple[tuple[Tensor, Tensor], ...]
    images: Tensor | None
