"""Images to features of the understanding encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sampling.steps import OnImage
from .inputs import VisionFeatures
from .runtime import Runtime


def encode_vision(runtime: Runtime, images: Tensor, on_image: OnImage) -> VisionFeatures:
    """Features of images [B, H, W, C] in [0, 1], by the understanding encoder."""
    outputs = []
    for chunk in runtime.chunks(len(images)):
        pixel_values = runtime.image_processor.pixel_values(images[list(chunk)])
        outputs.append(runtime.model.understanding(pixel_values.to(runtime.device)))
        on_image(chunk.stop, len(images))
    features, embeds = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    return VisionFeatures(embeds, features)
