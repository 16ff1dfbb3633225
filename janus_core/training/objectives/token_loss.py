"""The loss of images that are generated token by token (Janus, arXiv:2410.13848, section 3.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipeline.pipeline import JanusPipeline
from ..pictures import image_tokens
from ..recipe import Stage
from ..sequences import TokenSequence
from .batches import chunks, embed, hidden_states


class TokenLoss(nn.Module):
    """Cross-entropy of image tokens."""

    draws = 1  # images have no noise

    def __init__(self, pipeline: JanusPipeline, stage: Stage) -> None:
        super().__init__()
        self.pipeline = pipeline
        if stage.alignment or stage.draws != 1 or stage.time_shift:
            raise ValueError(
                f"alignment, draws and time_shift must be left out for a model that draws tokens, got "
                f"{stage.alignment}, {stage.draws} and {stage.time_shift}; they are for flows"
            )

    def losses(
        self, sequences: Sequence[TokenSequence], images: Sequence[Tensor], rng: random.Random
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of captions with their images [H, W, 3] in [0, 1], and its parts by name."""
        loss = token_loss(self.pipeline, sequences, image_tokens(self.pipeline, images))
        return loss, {"generation": loss}


def token_loss(
    pipeline: JanusPipeline,
    sequences: Sequence[TokenSequence],
    tokens: Tensor,
    image_embeds: Sequence[Tensor] | None = None,
) -> Tensor:
    """Returns the mean cross-entropy of the images to generate, whose tokens are [B, N].

    `image_embeds` are embeddings [..., C] of each sequence's input images.
    """
    generation = pipeline.model.token_generation
    states, targets = [], []
    for chunk, batch in chunks(pipeline, sequences):
        embeds = embed(pipeline, batch, chunk, image_embeds)
        token_embeds = generation.embed_tokens(tokens[chunk])
        embeds = embeds.masked_scatter(batch.generated[..., None], token_embeds.to(embeds.dtype))
        states.append(hidden_states(pipeline, batch, embeds)[batch.predicts_image])
        targets.append(tokens[chunk].flatten())
    return F.cross_entropy(generation.head(torch.cat(states)).float(), torch.cat(targets))
