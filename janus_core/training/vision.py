"""How a picture is seen when it is asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..pipeline.pipeline import JanusPipeline


def encoder_embeds(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Through the understanding encoder, as Janus does: images [H, W, 3] in [0, 1] to [B, N, C]."""
    pixel_values = pipeline.image_processor.pixel_values(images).to(pipeline.device)
    embeds: Tensor = pipeline.model.understanding(pixel_values)[1]
    return embeds


def token_embeds(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Through the image tokenizer, as a model with one encoder for both does.

    What Janus is compared with in its ablation of decoupled encoders (arXiv:2410.13848, section 4.5).
    """
    embeds: Tensor = pipeline.model.token_generation.embed_tokens(image_tokens(pipeline, images))
    return embeds


@torch.no_grad()
def image_tokens(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """What the image tokenizer makes of images [H, W, 3] in [0, 1]: ids [B, N].

    Without autocast, which would choose codes by products in bf16, where neighbouring ones are alike.
    """
    pixels = pipeline.image_processor.pixels(images).to(pipeline.device)
    with torch.autocast(pixels.device.type, enabled=False):
        tokens: Tensor = pipeline.model.generation.encode(pixels)
    return tokens


SEES: dict[str, Callable[[JanusPipeline, Sequence[Tensor]], Tensor]] = {
    "encoder": encoder_embeds,
    "tokens": token_embeds,
}
