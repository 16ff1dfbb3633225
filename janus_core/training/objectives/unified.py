"""Training one transformer to answer and to draw (Janus, arXiv:2410.13848, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.cache import NoCache
from ...pipeline.pipeline import JanusPipeline
from ..pictures import to_images
from ..recipe import Stage
from ..rows import IGNORED, Row, RowBatch, batch_rows, conversation_row, drawing_row
from ..samples import Data, Sample
from ..vision import SEES, image_tokens

TASKS = ("understanding", "text", "generation")

# Rows that are computed together: few, so that their lengths are alike and little is padded.
_TOGETHER = 8


class UnifiedObjective(nn.Module):
    """Cross-entropy of answers and of picture tokens, weighed by the stage's shares."""

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: Data) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Losses of one batch; the first is what is made small."""
        total = sum(self.stage.shares)
        found: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.pipeline.device)
        for task, share in zip(TASKS, self.stage.shares, strict=True):
            if share:
                count = max(1, round(self.stage.batch_size * share / total))
                task_loss = getattr(self, f"_{task}")(rng, count)
                found[task] = task_loss.detach()
                loss = loss + task_loss * share / total
        return {"loss": loss, **found}

    def finish(self) -> None:
        """Nothing is left to do."""

    def _understanding(self, rng: random.Random, count: int) -> Tensor:
        pipeline = self.pipeline
        samples = [self.data.understanding(rng, self.stage.lesson) for _ in range(count)]
        images = to_images([sample.picture for sample in samples if sample.picture is not None])
        return self._text_loss(samples, SEES[self.stage.sees](pipeline, images))

    def _text(self, rng: random.Random, count: int) -> Tensor:
        return self._text_loss([self.data.text(rng) for _ in range(count)], None)

    def _generation(self, rng: random.Random, count: int) -> Tensor:
        pipeline = self.pipeline
        generation = pipeline.model.token_generation
        samples = [self.data.generation(rng) for _ in range(count)]
        rows = [
            drawing_row(pipeline, sample.caption, rng.random() < self.stage.caption_dropout)
            for sample in samples
        ]
        pictures = to_images([sample.picture for sample in samples if sample.picture is not None])
        tokens = image_tokens(pipeline, pictures)
        states, labels = [], []
        for part in _alike(rows):
            batch = batch_rows(pipeline, [rows[index] for index in part])
            before = batch.before_drawn.to(pipeline.device)
            states.append(self._states(batch, None, generation.embed_tokens(tokens[part]))[before])
            labels.append(tokens[part].flatten())
        logits = generation.head(torch.cat(states))
        return F.cross_entropy(logits.float(), torch.cat(labels))

    def _text_loss(self, samples: Sequence[Sample], seen: Tensor | None) -> Tensor:
        pipeline = self.pipeline
        rows = [conversation_row(pipeline, sample) for sample in samples]
        states, labels = [], []
        for part in _alike(rows):
            batch = batch_rows(pipeline, [rows[index] for index in part])
            right = batch.labels.to(pipeline.device)
            answered = right != IGNORED
            states.append(self._states(batch, None if seen is None else seen[part], None)[answered])
            labels.append(right[answered])
        logits = pipeline.model.body.lm_head(torch.cat(states))
        return F.cross_entropy(logits.float(), torch.cat(labels))

    def _states(self, rows: RowBatch, seen: Tensor | None, drawn: Tensor | None) -> Tensor:
        pipeline = self.pipeline
        prompt = rows.prompt.to(pipeline.device)
        embeds = pipeline.model.embed_prompt(prompt, seen)
        if drawn is not None:
            places = rows.drawn.to(pipeline.device)[..., None]
            embeds = embeds.masked_scatter(places, drawn.to(embeds.dtype))
        return pipeline.model.body(embeds, prompt.position_ids, NoCache())


def _alike(rows: Sequence[Row]) -> list[list[int]]:
    """Places of rows in groups of like length: padding is computed as well."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    return [order[start : start + _TOGETHER] for start in range(0, len(order), _TOGETHER)]
