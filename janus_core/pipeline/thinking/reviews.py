"""Draws first and reviews afterwards: the model judges its image in words, then draws a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
from ...sampling.steps import OnStep, ignore_step, part_of
from ...sampling.text import generate_text
from ...sampling.tokens import sample_image_tokens
from ..answer import EOS, LENGTH, Answer
from ..runtime import Runtime
from .drawing import token_batch
from .request import ThinkingRequest
from .rounds import Verdict, random_streams


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
        self._chunks = runtime.chunks(request.options.batch_size)
        self._reviewed: dict[int, _Reviewed] = {}

    def first(self) -> Tensor:
        """Draws all images: [B, N] tokens."""
        rest = self._batch([[self._request.head[-1]]], len(self._conditions))
        return torch.cat([self._draw(rest, chunk, 0, number) for number, chunk in enumerate(self._chunks)])

    def judge(self, images: Sequence[int], pictures: Tensor, round: int) -> list[Verdict]:
        """Judges some images, [n, H, W, 3] in [0, 1]; writes only the verdict in the last round."""
        is_last = round == self._request.rounds
        options = replace(self._request.thinking, max_new_tokens=1) if is_last else self._request.thinking
        num_runs = len(self._chunks) * self._request.rounds
        # The authors' code keeps images as 8-bit files, rounded down.
        pictures = (pictures * 255).floor() / 255
        verdicts = []
        for number, chunk in enumerate(self._runtime.chunks(len(images))):
            chosen = [images[index] for index in chunk]
            run = round * len(self._chunks) + number
            on_step = ignore_step if is_last else part_of(self._on_text, run, num_runs)
            verdicts += self._judge_chunk(chosen, pictures[list(chunk)], options, round, on_step)
        return verdicts

    def again(self, images: Sequence[int], round: int) -> Tensor:
        """Draws some images again, after what was written about them: [n, N] tokens."""
        tokens = []
        for number, chunk in enumerate(self._runtime.chunks(len(images))):
            chosen = [images[index] for index in chunk]
            reviewed = [self._reviewed[image] for image in chosen]
            batch = self.redraw_batch([each.ids for each in reviewed])
            codec = self._runtime.model.token_generation
            crop = self._runtime.image_processor.cropped_pixels
            shown = [codec.encode(crop(each.picture).to(self._runtime.device)) for each in reviewed]
            embeds = codec.embed_tokens(torch.cat(shown)).repeat(len(self._conditions), 1, 1)
            inputs_embeds = self._runtime.model.embed_prompt(batch, embeds)
            tokens.append(self._draw(batch, chosen, round, number, inputs_embeds))
        return torch.cat(tokens)

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
        number: int,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Draws a chunk of images after the prefix and the rest of each condition's rows."""
        num_conditions = len(self._conditions)
        num_sources = len(rest.input_ids) // num_conditions
        rows = [row for row in range(num_conditions) for _ in range(num_sources)]
        num_runs = len(self._chunks) * (1 + self._request.rounds)
        return sample_image_tokens(
            self._runtime.model,
            rest,
            self._request.options,
            random_streams(images, round),
            part_of(self._on_step, round * len(self._chunks) + number, num_runs),
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
