"""Training of one transformer to answer and to generate images (Janus, arXiv:2410.13848, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.cache import NoCache
from ...pipeline.pipeline import JanusPipeline
from ..editing import edit_batch
from ..pictures import VISION_INPUTS, image_tokens, to_images
from ..recipe import TASKS, Stage
from ..samples import Sample, TrainingData
from ..sequences import IGNORED, TokenSequence, batch_sequences, conversation_sequence, generation_sequence


class UnifiedObjective(nn.Module):
    """Cross-entropy of answers and of image tokens, weighted by the stage's shares."""

    chunk_size = 8  # sequences per forward pass

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: TrainingData) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Returns the losses of one batch by name; "loss" is the one to minimise."""
        task_losses = (self._understanding_loss, self._text_loss, self._generation_loss, self._editing_loss)
        total = sum(self.stage.shares)
        losses: dict[str, Tensor] = {}
        loss = torch.zeros((), device=self.pipeline.device)
        # A recipe may leave out the last shares.
        for task, task_loss, share in zip(TASKS, task_losses, self.stage.shares, strict=False):
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
        sequences = [conversation_sequence(self.pipeline, sample) for sample in samples]
        return self._cross_entropy(sequences, self.pipeline.model.body.lm_head, image_embeds=image_embeds)

    def _text_loss(self, rng: random.Random, count: int) -> Tensor:
        sequences = [conversation_sequence(self.pipeline, self.data.text(rng)) for _ in range(count)]
        return self._cross_entropy(sequences, self.pipeline.model.body.lm_head)

    def _generation_loss(self, rng: random.Random, count: int) -> Tensor:
        samples = [self.data.generation(rng) for _ in range(count)]
        sequences = [
            generation_sequence(self.pipeline, sample.caption, rng.random() < self.stage.caption_dropout)
            for sample in samples
        ]
        tokens = image_tokens(self.pipeline, _images(samples))
        return self._cross_entropy(sequences, self.pipeline.model.token_generation.head, tokens=tokens)

    def _editing_loss(self, rng: random.Random, count: int) -> Tensor:
        samples = [self.data.edit(rng) for _ in range(count)]
        batch = edit_batch(self.pipeline, samples, self.stage.caption_dropout, rng)
        head = self.pipeline.model.token_generation.head
        return self._cross_entropy(batch.sequences, head, batch.image_embeds, batch.tokens)

    def _cross_entropy(
        self,
        sequences: Sequence[TokenSequence],
        head: nn.Module,
        image_embeds: Sequence[Tensor] | Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """Returns the mean cross-entropy of all labels and of the images to generate.

        `image_embeds` are embeddings [..., C] of each sequence's input images, `tokens` [B, N] the images to
        generate.
        """
        model, device = self.pipeline.model, self.pipeline.device
        # Few sequences per forward pass, of similar length, so that little is padding.
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index].ids))
        states, targets = [], []
        for start in range(0, len(order), self.chunk_size):
            chunk = order[start : start + self.chunk_size]
            batch = batch_sequences(self.pipeline, [sequences[index] for index in chunk])
            prompt, labels = batch.prompt.to(device), batch.labels.to(device)
            images = None if image_embeds is None else torch.cat([image_embeds[index] for index in chunk])
            embeds = model.embed_prompt(prompt, images)
            if tokens is not None:
                generated, predicts_image = batch.generated.to(device), batch.predicts_image.to(device)
                token_embeds = model.token_generation.embed_tokens(tokens[chunk])
                embeds = embeds.masked_scatter(generated[..., None], token_embeds.to(embeds.dtype))
                labels = labels.masked_scatter(predicts_image, tokens[chunk])
            has_label = labels != IGNORED
            states.append(model.body(embeds, prompt.position_ids, NoCache())[has_label])
            targets.append(labels[has_label])
        return F.cross_entropy(head(torch.cat(states)).float(), torch.cat(targets))


def _images(samples: Sequence[Sample]) -> list[Tensor]:
    return to_images([sample.picture for sample in samples if sample.picture is not None])
