"""Thinks before drawing: thoughts are written about a prompt, and images are drawn after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ...models.cache import KVCache
from ...processing.thinking_prompts import end_ids, image_row, without_end
from ...sampling.decoding import prefill
from ...sampling.results import DrawnTokens
from ...sampling.steps import OnStep, part_of
from ...sampling.text import generate_text, initial_answer_slots
from ..answer import EOS, LENGTH, Answer
from ..rows import Chunk, chunks_of, in_groups
from ..runtime import Runtime
from .drawing import ReadRows, draw_rows, token_batch
from .request import ThinkingRequest
from .rounds import part_of_round, random_streams


@dataclass(frozen=True)
class Thought:
    """A thought about an image.

    Attributes:
        ids: its token ids as sampled, end token included.
        used: those that the image is drawn after.
        text: its text, with how it ended.
    """

    ids: list[int]
    used: list[int]
    text: Answer


class ThoughtDrawer:
    """Draws the images of a request whose form thinks first.

    Attributes:
        thoughts: one for each image that has been drawn.
    """

    def __init__(self, runtime: Runtime, request: ThinkingRequest, on_text: OnStep, on_step: OnStep) -> None:
        """Takes the callbacks of texts and images; ValueError if a given thought does not fit."""
        assert request.form.thinking is not None
        self._runtime, self._request, self._form = runtime, request, request.form.thinking
        self._on_text, self._on_step = on_text, on_step
        self._ends = end_ids(request.prompts, self._form.ends)
        self._chunks = chunks_of(runtime, request.options.batch_size)
        self._shared: tuple[list[Thought], ReadRows | None] | None = None
        self.thoughts: list[Thought] = []
        self._given = [self._thought(ids) for ids in request.thoughts]
        if self._given:
            self._rows(self._given, "thoughts")  # before anything is drawn

    def first(self) -> DrawnTokens:
        """Thinks about all images, and draws them."""
        batches = []
        for thoughts, drawn in in_groups(self._runtime, self._chunks, self._think_and_draw):
            self.thoughts += thoughts
            batches.append(drawn)
        return DrawnTokens.joined(batches)

    def _think_and_draw(self, chunk: Chunk, number: int, count: int) -> tuple[list[Thought], DrawnTokens]:
        texts = (0, 1) if self._form.shared else (number, count)
        thoughts, read = self._think(chunk.rows, part_of(self._on_text, *texts))
        return thoughts, self._draw(thoughts, chunk.rows, 0, (number, count), read)

    def again(self, images: Sequence[int], round: int) -> DrawnTokens:
        """Draws some images from the same thoughts once more, from other random streams."""

        def draw(chunk: Chunk, number: int, count: int) -> DrawnTokens:
            chosen = [images[index] for index in chunk.rows]
            thoughts = [self.thoughts[index] for index in chosen]
            return self._draw(thoughts, random_streams(chosen, round), round, (number, count))

        chunks = chunks_of(self._runtime, len(images))
        return DrawnTokens.joined(list(in_groups(self._runtime, chunks, draw)))

    def _think(self, chunk: range, on_step: OnStep) -> tuple[list[Thought], ReadRows | None]:
        """A thought for each image, and what the model has read of the rows that they are drawn after."""
        if self._given:
            alike = self._given * len(chunk) if len(self._given) == 1 else []
            return alike or self._given[chunk.start : chunk.stop], None
        if not self._form.shared:
            return self._sample(chunk, on_step)
        if self._shared is None:
            self._shared = self._sample(range(1), on_step)
        thoughts, read = self._shared
        return thoughts * len(chunk), read

    @cached_property
    def _head(self) -> KVCache:
        """All of the head but its last token, read once for all thoughts."""
        model, runtime = self._runtime.model, self._runtime
        batch = token_batch(self._request.prompts, [self._request.head[:-1]], runtime.device)
        return prefill(model, batch, model.embed_prompt(batch))[0]

    def _sample(self, images: range, on_step: OnStep) -> tuple[list[Thought], ReadRows | None]:
        runtime, request, read = self._runtime, self._request, len(self._request.head) - 1
        slots = len(request.head) + initial_answer_slots(request.thinking)
        cache = self._head.repeat(len(images), slots)
        last = token_batch(request.prompts, [request.head[-1:]] * len(images), runtime.device)
        sampled = generate_text(
            runtime.model,
            last.after([read] * len(images)),
            None,
            request.thinking,
            self._ends,
            images,
            on_step,
            cache,
        )
        rows = zip(sampled.tokens.tolist(), sampled.lengths.tolist(), strict=True)
        thoughts = [self._thought(ids[:length]) for ids, length in rows]
        if self._form.turn:
            return thoughts, None
        # The last token of the longest thought has not been read.
        num_read = cache.length - len(request.head)
        counts = [len(request.head) + min(len(thought.used), num_read) for thought in thoughts]
        return thoughts, ReadRows(cache, counts)

    def _thought(self, ids: list[int]) -> Thought:
        used = without_end(ids, self._ends)
        is_cut = len(used) == len(ids)
        if is_cut and self._form.drops_last and len(ids) >= self._request.thinking.max_new_tokens:
            used = used[:-1]
        text = self._request.prompts.tokenizer.decode(used)
        return Thought(ids, used, Answer(text, LENGTH if is_cut and not self._request.thoughts else EOS))

    def _rows(self, thoughts: Sequence[Thought], name: str) -> list[list[int]]:
        """The rows that images are drawn after; ValueError if one leaves no room for its image."""
        request = self._request
        rows = [
            image_row(request.prompts, self._form, request.head, request.prompt, thought.used)
            for thought in thoughts
        ]
        request.prompts.batch(rows, self._runtime.model.generation.config.num_tokens, name)
        return rows

    def _draw(
        self,
        thoughts: list[Thought],
        streams: Sequence[int],
        round: int,
        part: tuple[int, int],
        read: ReadRows | None = None,
    ) -> DrawnTokens:
        """Draws an image after each thought; `part` is the number of the part of the round, of how many."""
        rows = self._rows(thoughts, "thought")
        if len(read.counts) == 1 if read else all(row == rows[0] for row in rows):
            rows = rows[:1]  # read once
        rounds = 1 + self._request.rounds if self._request.form.judges else 1
        number, per_round = part[0], max(part[1], len(self._chunks))
        return draw_rows(
            self._runtime,
            self._request.prompts,
            rows,
            self._request.options,
            streams,
            part_of_round(self._on_step, round, rounds, number, per_round),
            read,
        )
