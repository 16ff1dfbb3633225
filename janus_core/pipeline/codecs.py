"""Images through the model's two encoders, and image samples back to pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..processing.images import to_images
from ..sampling.steps import OnImage, counted
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


def encode_pixels(runtime: Runtime, images: Tensor, on_image: OnImage) -> Tensor:
    """Image tokens or latents of images [B, H, W, C] in [0, 1], by the generation encoder.

    One image at a time: a single one keeps a device busy, and the activations of many are large.
    """
    pixels = (runtime.image_processor.pixels(image[None]) for image in counted(images.unbind(), on_image))
    return torch.cat([runtime.model.generation.encode(image.to(runtime.device)) for image in pixels])


def decode_pixels(runtime: Runtime, samples: Tensor, on_image: OnImage) -> Tensor:
    """Images [B, H, W, 3] in [0, 1] of image tokens or latents, decoded one at a time."""
    decode = runtime.model.generation.decode
    return torch.cat([to_images(decode(sample)) for sample in counted(samples.split(1), on_image)])
