"""Training one transformer to answer and to draw (Janus, arXiv:2410.13848, section 3.3)."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.cache import NoCache
from ...pipeline import JanusPipeline
from ..pictures import to_images
from ..recipe import Stage
from ..rows import IGNORED, RowBatch, batch_rows, conversation_row, drawing_row
from ..samples import Data
from ..vision import SEES, image_tokens

TASKS = ("understanding", "text", "generation")


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
        samples = [self.data.understanding(rng) for _ in range(count)]
        rows = batch_rows(pipeline, [conversation_row(pipeline, sample) for sample in samples])
        images = to_images([sample.picture for sample in samples if sample.picture is not None])
        return self._text_loss(rows, SEES[self.stage.sees](pipeline, images))

    def _text(self, rng: random.Random, count: int) -> Tensor:
        pipeline = self.pipeline
        rows = [conversation_row(pipeline, self.data.text(rng)) for _ in range(count)]
        return self._text_loss(batch_rows(pipeline, rows), None)

    def _generation(self, rng: random.Random, count: int) -> Tensor:
        pipeline = self.pipeline
        generation = pipeline.model.generation
        samples = [self.data.generation(rng) for _ in range(count)]
        hidden = [rng.random() < self.stage.caption_dropout for _ in samples]
        rows = batch_rows(
            pipeline,
            [
                drawing_row(pipeline, sample.caption, hide)
                for sample, hide in zip(samples, hidden, strict=True)
            ],
        )
        pictures = to_images([sample.picture for sample in samples if sample.picture is not None])
        tokens = image_tokens(pipeline, pictures)
        embeds = generation.embed_tokens(tokens)
        states = self._states(rows, None, embeds)
        logits = generation.head(states[rows.before_drawn.to(states.device)])
        return F.cross_entropy(logits.float(), tokens.flatten())

    def _text_loss(self, rows: RowBatch, seen: Tensor | None) -> Tensor:
        pipeline = self.pipeline
        labels = rows.labels.to(pipeline.device)
        states = self._states(rows, seen, None)
        answered = labels != IGNORED
        logits = pipeline.model.body.lm_head(states[answered])
        return F.cross_entropy(logits.float(), labels[answered])

    def _states(self, rows: RowBatch, seen: Tensor | None, drawn: Tensor | None) -> Tensor:
        pipeline = self.pipeline
        prompt = rows.prompt.to(pipeline.device)
        embeds = pipeline.model.embed_prompt(prompt, seen)
        if drawn is not None:
            places = rows.drawn.to(pipeline.device)[..., None]
            embeds = embeds.masked_scatter(places, drawn.to(embeds.dtype))
        return pipeline.model.body(embeds, prompt.position_ids, NoCache())
