"""Draws first and reviews afterwards: the model judges its image in words, then draws a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from ...models.cache import KVCache
from ...processing.thinking_prompts import (
    blank_row,
    end_ids,
    judging_tail,
    redrawing_tail,
    verdict_ids,
    without_end,
)
from ...prompt_batch import PromptBatch
from ...sampling.decoding import prefill
from ...sampling.guidance import uses_guidance
from ...sampling.options import TextSampling
from ...sampling.results import DrawnTokens
from ...sampling.steps import OnStep, ignore_step
from ...sampling.text import generate_text
from ...sampling.tokens import sample_image_tokens
from ..answer import EOS, LENGTH, Answer
from ..rows import Chunk, chunks_of, in_groups
from ..runtime import Runtime
from .drawing import token_batch
from .request import ThinkingRequest
from .rounds import Verdict, part_of_round, random_streams


@dataclass(frozen=True)
class _Reviewed:
    """An image [H, W, 3] as the model saw it, and the token ids of its reflection, end token included."""

    picture: Tensor
    ids: list[int]


class ReviewDrawer:
    """Draws the images of a request whose form reviews them in the same conversation.

    The turn of the user is read once, for images, judgements and new images.
    """

    def __init__(self, runtime: Runtime, request: ThinkingRequest, on_text: OnStep, on_step: OnStep) -> None:
        """Takes the callbacks of texts and images."""
        assert request.form.review is not None
        self._runtime, self._request, self._form = runtime, request, request.form.review
        self._on_text, self._on_step = on_text, on_step
        self._ends = end_ids(request.prompts, self._form.ends)
        self._verdicts = verdict_ids(request.prompts, self._form)
        self._judging = judging_tail(request.prompts, self._form)
        self._redrawing = redrawing_tail(request.prompts, self._form)
        self._chunks = chunks_of(runtime, request.options.batch_size)
        self._reviewed: dict[int, _Reviewed] = {}

    def first(self) -> DrawnTokens:
        """Draws all images."""
        rest = self._batch([[self._request.head[-1]]], len(self._conditions))

        def draw(chunk: Chunk, number: int, count: int) -> DrawnTokens:
            return self._draw(rest, chunk.rows, 0, (number, count))

        return DrawnTokens.joined(list(in_groups(self._runtime, self._chunks, draw)))

    def judge(self, images: Sequence[int], pictures: Tensor, round: int) -> list[Verdict]:
        """Judges some images, [n, H, W, 3] in [0, 1]; writes only the verdict in the last round."""
        is_last = round == self._request.rounds
        options = replace(self._request.thinking, max_new_tokens=1) if is_last else self._request.thinking
        # The authors' code keeps images as 8-bit files, rounded down.
        pictures = (pictures * 255).floor() / 255

        def judge(chunk: Chunk, number: int, count: int) -> list[Verdict]:
            chosen, per_round = [images[index] for index in chunk.rows], max(count, len(self._chunks))
            on_step = part_of_round(self._on_text, round, self._request.rounds, number, per_round)
            return self._judge_chunk(
                chosen, pictures[list(chunk.rows)], options, round, ignore_step if is_last else on_step
            )

        chunks = chunks_of(self._runtime, len(images))
        return list(chain.from_iterable(in_groups(self._runtime, chunks, judge)))

    def again(self, images: Sequence[int], round: int) -> DrawnTokens:
        """Draws some images again, after what was written about them."""

        def draw(chunk: Chunk, number: int, count: int) -> DrawnTokens:
            chosen = [images[index] for index in chunk.rows]
            reviewed = [self._reviewed[image] for image in chosen]
            batch = self.redraw_batch([each.ids for each in reviewed])
            codec = self._runtime.model.token_generation
            crop = self._runtime.image_processor.cropped_pixels
            shown = [codec.encode(crop(each.picture).to(self._runtime.device)) for each in reviewed]
            embeds = codec.embed_tokens(torch.cat(shown)).repeat(len(self._conditions), 1, 1)
            inputs_embeds = self._runtime.model.embed_prompt(batch, embeds)
            return self._draw(batch, chosen, round, (number, count), inputs_embeds)

        chunks = chunks_of(self._runtime, len(images))
        return DrawnTokens.joined(list(in_groups(self._runtime, chunks, draw)))

    @cached_property
    def _conditions(self) -> list[list[int]]:
        """The turn that is drawn, and with guidance its unconditional row."""
        head = self._request.head
        guided = uses_guidance(self._request.options.guidance_scale)
        return [head, blank_row(self._request.prompts, head)] if guided else [head]

    @cached_property
    def _prefix(self) -> KVCache:
        """All conditions but for their image start."""
        model, runtime = self._runtime.model, self._runtime
        batch = token_batch(self._request.prompts, [row[:-1] for row in self._conditions], runtime.device)
        return prefill(model, batch, model.embed_prompt(batch))[0]

    def _batch(self, rows: Sequence[Sequence[int]], copies: int = 1) -> PromptBatch:
        """Rows that continue the prefix, image start first, repeated `copies` times."""
        batch = token_batch(self._request.prompts, [*rows] * copies, self._runtime.device)
        return batch.after([self._prefix.length] * len(rows) * copies)

    def _picture(self, positions: int) -> list[int]:
        """An image start, and placeholders for an image's embeddings."""
        tokenizer = self._request.prompts.tokenizer
        return [tokenizer.image_start_id, *[tokenizer.image_id] * positions]

    def _draw(
        self,
        rest: PromptBatch,
        images: Sequence[int],
        round: int,
        part: tuple[int, int],
        inputs_embeds: Tensor | None = None,
    ) -> DrawnTokens:
        """Draws some images after the prefix and the rest of each row; `part` is its number, of how many."""
        num_conditions = len(self._conditions)
        num_sources = len(rest.input_ids) // num_conditions
        rows = [row for row in range(num_conditions) for _ in range(num_sources)]
        number, per_round = part[0], max(part[1], len(self._chunks))
        return sample_image_tokens(
            self._runtime.model,
            rest,
            self._request.options,
            random_streams(images, round),
            part_of_round(self._on_step, round, 1 + self._request.rounds, number, per_round),
            inputs_embeds,
            num_sources=num_sources,
            cache=self._prefix.select(rows),
        )

    def _judge_chunk(
        self, images: Sequence[int], pictures: Tensor, options: TextSampling, round: int, on_step: OnStep
    ) -> list[Verdict]:
        runtime, prompts = self._runtime, self._request.prompts
        pixel_values = runtime.image_processor.pixel_values(pictures)
        _, seen = runtime.model.understanding(pixel_values.to(runtime.device))
        row = [*self._picture(seen.shape[1]), *self._judging]
        said = generate_text(
            runtime.model,
            self._batch([row], len(images)),
            seen,
            options,
            self._ends,
            random_streams(images, round),
            on_step,
            self._prefix.select([0] * len(images)),
            self._verdicts,
        )
        assert said.first_probs is not None
        verdicts = []
        for image, picture, tokens, length, (yes, _) in zip(
            images,
            pictures,
            said.tokens.tolist(),
            said.lengths.tolist(),
            said.first_probs.tolist(),
            strict=True,
        ):
            ids = tokens[:length]
            self._reviewed[image] = _Reviewed(picture, ids)
            text = without_end(ids, self._ends)
            reflection = Answer(prompts.tokenizer.decode(text), LENGTH if len(text) == length else EOS)
            is_last = round == self._request.rounds
            verdicts.append(Verdict(yes, ids[0] == self._verdicts[0], None if is_last else reflection))
        return verdicts

    def redraw_batch(self, reflections: Sequence[list[int]]) -> PromptBatch:
        """The rest of each condition's row: image, judgement, reflection, and the start of the new image."""
        num_tokens = self._runtime.model.generation.config.num_tokens
        picture = self._picture(num_tokens)
        rows = [[*picture, *self._judging, *ids, *self._redrawing] for ids in reflections]
        batch = self._batch(rows, len(self._conditions))
        image_mask, attention_mask = torch.zeros_like(batch.image_mask), batch.attention_mask.clone()
        for index in range(len(batch.input_ids)):
            ids = reflections[index % len(rows)]
            start = batch.length - len(rows[index % len(rows)]) + 1
            image_mask[index, start : start + num_tokens] = True
            # What ended the reflection is hidden, but keeps its position.
            end = batch.length - len(self._redrawing)
            attention_mask[index, end - len(ids) + len(without_end(ids, self._ends)) : end] = False
        hidden = batch.padded or any(len(without_end(ids, self._ends)) < len(ids) for ids in reflections)
        return replace(batch, image_mask=image_mask, attention_mask=attention_mask, padded=hidden)
