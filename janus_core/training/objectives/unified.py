"""Training of one transformer to answer and to generate images (Janus, arXiv:2410.13848, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...models.flow_generation import FlowGeneration
from ...models.token_generation import TokenGeneration
from ...pipeline.pipeline import JanusPipeline
from ..editing import edit_batch
from ..pictures import VISION_INPUTS, to_images
from ..recipe import Stage
from ..samples import Sample, TrainingData
from ..sequences import TokenSequence, conversation_sequence, generation_sequence
from .batches import label_loss
from .flow_loss import FlowLoss
from .token_loss import TokenLoss, token_loss

# By the class of `model.generation`: what is minimised for the images to generate.
GENERATION_LOSSES: dict[type, type[TokenLoss | FlowLoss]] = {
    TokenGeneration: TokenLoss,
    FlowGeneration: FlowLoss,
}


class UnifiedObjective(nn.Module):
    """Cross-entropy of answers and a loss of generated images, weighted by the stage's shares."""

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: TrainingData) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data
        self.generation_loss = GENERATION_LOSSES[type(pipeline.model.generation)](pipeline, stage)

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Returns the losses of one batch by name; "loss" is the one to minimise."""
        tasks = (self._understanding, self._text, self._generation, self._editing)
        total = sum(self.stage.shares)
        losses: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.pipeline.device)
        # A recipe may leave out the last shares.
        for task_losses, share in zip(tasks, self.stage.shares, strict=False):
            if share:
                value, named = task_losses(rng, max(1, round(self.stage.batch_size * share / total)))
                losses |= {name: part.detach() for name, part in named.items()}
                loss = loss + value * share / total
        return {"loss": loss, **losses}

    def finish(self) -> None:
        """Does nothing; what a generation loss has learnt itself is dropped."""

    def _understanding(self, rng: random.Random, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        samples = [self.data.understanding(rng, self.stage.lesson) for _ in range(count)]
        image_embeds = VISION_INPUTS[self.stage.sees](self.pipeline, _images(samples))
        loss = self._answer_loss(samples, image_embeds)
        return loss, {"understanding": loss}

    def _text(self, rng: random.Random, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self._answer_loss([self.data.text(rng) for _ in range(count)])
        return loss, {"text": loss}

    def _generation(self, rng: random.Random, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        draws = self.generation_loss.draws
        samples = [self.data.generation(rng) for _ in range(max(1, round(count / draws)))]
        sequences: list[TokenSequence] = [
            generation_sequence(
                self.pipeline, sample.caption, rng.random() < self.stage.caption_dropout, draws
            )
            for sample in samples
        ]
        return self.generation_loss.losses(sequences, _images(samples), rng)

    def _editing(self, rng: random.Random, count: int) -> tuple[Tensor, dict[str, Tensor]]:
        samples = [self.data.edit(rng, self.stage.lesson) for _ in range(count)]
        batch = edit_batch(self.pipeline, samples, self.stage.caption_dropout, rng)
        loss = token_loss(self.pipeline, batch.sequences, batch.tokens, batch.image_embeds)
        return loss, {"editing": loss}

    def _answer_loss(self, samples: Sequence[Sample], image_embeds: Tensor | None = None) -> Tensor:
        sequences = [conversation_sequence(self.pipeline, sample) for sample in samples]
        return label_loss(self.pipeline, sequences, image_embeds)


def _images(samples: Sequence[Sample]) -> list[Tensor]:
    return to_images([sample.picture for sample in samples if sample.picture is not None])
