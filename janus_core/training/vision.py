"""How a picture is seen when it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..pipeline import JanusPipeline


def encoder_embeds(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Through the understanding encoder, as Janus does: images [H, W, 3] in [0, 1] to [B, N, C]."""
    pixel_values = pipeline.image_processor.pixel_values(images).to(pipeline.device)
    embeds: Tensor = pipeline.model.understanding(pixel_values)[1]
    return embeds


def token_embeds(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Through the image tokenizer, as a model with one encoder for both does.

    What Janus is compared with in its ablation of decoupled encoders (arXiv:2410.13848, section 4.5).
    """
    generation = pipeline.model.generation
    with torch.no_grad():
        tokens = generation.encode(pipeline.image_processor.pixels(images).to(pipeline.device))
    embeds: Tensor = generation.embed_tokens(tokens)
    return embeds


SEES: dict[str, Callable[[JanusPipeline, Sequence[Tensor]], Tensor]] = {
    "encoder": encoder_embeds,
    "tokens": token_embeds,
}
