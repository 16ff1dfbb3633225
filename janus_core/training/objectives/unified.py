"""Training of one transformer to answer and to generate images (Janus, arXiv:2410.13848, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.cache import NoCache
from ...pipeline.pipeline import JanusPipeline
from ..pictures import VISION_INPUTS, image_tokens, to_images
from ..recipe import Stage
from ..samples import Sample, TrainingData
from ..sequences import (
    IGNORED,
    SequenceBatch,
    TokenSequence,
    batch_sequences,
    conversation_sequence,
    generation_sequence,
)


class UnifiedObjective(nn.Module):
    """Cross-entropy of answers and of image tokens, weighted by the stage's shares."""

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: TrainingData) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data
        # Sequences per forward pass: few, so that their lengths are similar and little is padding.
        self.chunk_size = 8

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Returns the losses of one batch by name; "loss" is the one to minimise."""
        tasks = {
            "understanding": self._understanding_loss,
            "text": self._text_loss,
            "generation": self._generation_loss,
        }
        total = sum(self.stage.shares)
        losses: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.pipeline.device)
        for (task, task_loss), share in zip(tasks.items(), self.stage.shares, strict=True):
            if share:
                value = task_loss(rng, max(1, round(self.stage.batch_size * share / total)))
                losses[task] = value.detach()
                loss = loss + value * share / total
        return {"loss": loss, **losses}

    def finish(self) -> None:
        """Does nothing."""

    def _understanding_loss(self, rng: random.Random, count: int) -> Tensor:
        samples = [self.data.understanding(rng, self.stage.lesson) for _ in range(count)]
        image_embeds = VISION_INPUTS[self.stage.sees](self.pipeline, _images(samples))
        return self._answer_loss(samples, image_embeds)

    def _text_loss(self, rng: random.Random, count: int) -> Tensor:
        return self._answer_loss([self.data.text(rng) for _ in range(count)], None)

    def _answer_loss(self, samples: Sequence[Sample], image_embeds: Tensor | None) -> Tensor:
        """Returns the cross-entropy of all answer tokens, given input images [B, N, C]."""
        pipeline = self.pipeline
        sequences = [conversation_sequence(pipeline, sample) for sample in samples]
        states, targets = [], []
        for chunk in self._chunks(sequences):
            batch = batch_sequences(pipeline, [sequences[index] for index in chunk])
            labels = batch.labels.to(pipeline.device)
            predicts_answer = labels != IGNORED
            chunk_embeds = None if image_embeds is None else image_embeds[chunk]
            states.append(self._hidden_states(batch, chunk_embeds, None)[predicts_answer])
            targets.append(labels[predicts_answer])
        logits = pipeline.model.body.lm_head(torch.cat(states))
        return F.cross_entropy(logits.float(), torch.cat(targets))

    def _generation_loss(self, rng: random.Random, count: int) -> Tensor:
        """Returns the cross-entropy of all image tokens, given captions."""
        pipeline = self.pipeline
        generation = pipeline.model.token_generation
        samples = [self.data.generation(rng) for _ in range(count)]
        sequences = [
            generation_sequence(pipeline, sample.caption, rng.random() < self.stage.caption_dropout)
            for sample in samples
        ]
        tokens = image_tokens(pipeline, _images(samples))
        states, targets = [], []
        for chunk in self._chunks(sequences):
            batch = batch_sequences(pipeline, [sequences[index] for index in chunk])
            predicts_image = batch.predicts_image.to(pipeline.device)
            token_embeds = generation.embed_tokens(tokens[chunk])
            states.append(self._hidden_states(batch, None, token_embeds)[predicts_image])
            targets.append(tokens[chunk].flatten())
        logits = generation.head(torch.cat(states))
        return F.cross_entropy(logits.float(), torch.cat(targets))

    def _chunks(self, sequences: Sequence[TokenSequence]) -> list[list[int]]:
        """Returns the indices of sequences, grouped by similar length to save padding."""
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index].ids))
        return [order[start : start + self.chunk_size] for start in range(0, len(order), self.chunk_size)]

    def _hidden_states(
        self, batch: SequenceBatch, image_embeds: Tensor | None, token_embeds: Tensor | None
    ) -> Tensor:
        """Runs the language model over a batch, with input images and images to generate [B, N, C]."""
        pipeline = self.pipeline
        prompt = batch.prompt.to(pipeline.device)
        embeds = pipeline.model.embed_prompt(prompt, image_embeds)
        if token_embeds is not None:
            generated = batch.generated.to(pipeline.device)[..., None]
            embeds = embeds.masked_scatter(generated, token_embeds.to(embeds.dtype))
        return pipeline.model.body(embeds, prompt.position_ids, NoCache())


def _images(samples: Sequence[Sample]) -> list[Tensor]:
    return to_images([sample.picture for sample in samples if sample.picture is not None])
