"""Batches of sequences through the transformer, and the cross-entropy of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.cache import NoCache
from ...pipeline.pipeline import JanusPipeline
from ..sequences import IGNORED, SequenceBatch, TokenSequence, batch_sequences

CHUNK_SIZE = 8  # sequences per forward pass


def chunks(
    pipeline: JanusPipeline, sequences: Sequence[TokenSequence]
) -> Iterator[tuple[list[int], SequenceBatch]]:
    """Yields indices and batches of a few sequences of similar length, so that little is padding."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index].ids))
    for start in range(0, len(order), CHUNK_SIZE):
        chunk = order[start : start + CHUNK_SIZE]
        yield chunk, batch_sequences(pipeline, [sequences[index] for index in chunk]).to(pipeline.device)


def embed(
    pipeline: JanusPipeline,
    batch: SequenceBatch,
    chunk: Sequence[int],
    image_embeds: Sequence[Tensor] | Tensor | None,
) -> Tensor:
    """Embeds a chunk as [B, T, C]; `image_embeds` are [..., C] of the input images of each sequence."""
    images = None if image_embeds is None else torch.cat([image_embeds[index] for index in chunk])
    return pipeline.model.embed_prompt(batch.prompt, images)


def hidden_states(pipeline: JanusPipeline, batch: SequenceBatch, embeds: Tensor) -> Tensor:
    """Reads embedded sequences [B, T, C] and returns the transformer's hidden states of that shape."""
    return pipeline.model.body(embeds, batch.prompt.position_ids, NoCache(batch.visible))


def label_loss(
    pipeline: JanusPipeline, sequences: Sequence[TokenSequence], image_embeds: Tensor | None = None
) -> Tensor:
    """Returns the mean cross-entropy of all labels; `image_embeds` [B, N, C] are the input images."""
    states, targets = [], []
    for chunk, batch in chunks(pipeline, sequences):
        has_label = batch.labels != IGNORED
        embeds = embed(pipeline, batch, chunk, image_embeds)
        states.append(hidden_states(pipeline, batch, embeds)[has_label])
        targets.append(batch.labels[has_label])
    logits = pipeline.model.body.lm_head(torch.cat(states)).float()
    return F.cross_entropy(logits, torch.cat(targets))
