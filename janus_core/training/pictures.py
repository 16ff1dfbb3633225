"""Pictures as inputs and outputs of a model, and contact sheets of pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..models.token_generation import TokenGeneration
from ..pipeline.pipeline import JanusPipeline
from ..processing.images import to_images as from_pixels
from ..sampling.options import FlowSampling, TokenSampling
from .samples import TrainingData


def to_images(pictures: Sequence[np.ndarray]) -> list[Tensor]:
    """Converts pictures [H, W, 3] uint8 to images [H, W, 3] in [0, 1]."""
    return [torch.from_numpy(picture.astype(np.float32) / 255) for picture in pictures]


def to_pictures(images: Tensor) -> list[np.ndarray]:
    """Converts images [B, H, W, 3] in [0, 1] to pictures [H, W, 3] uint8."""
    return list((images * 255).round().to(torch.uint8).cpu().numpy())


def encoder_embeds(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Encodes images [H, W, 3] in [0, 1] with the understanding encoder, as Janus does: [B, N, C]."""
    pixel_values = pipeline.image_processor.pixel_values(images).to(pipeline.device)
    return pipeline.model.understanding(pixel_values)[1]


def token_embeds(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Embeds image tokens instead, [B, N, C], as a model with a single encoder does.

    This is the baseline of Janus's ablation of decoupled encoders (arXiv:2410.13848, section 4.5).
    """
    return pipeline.model.token_generation.embed_tokens(image_tokens(pipeline, images))


# How a model can see the pictures that questions are about.
VISION_INPUTS = {"encoder": encoder_embeds, "tokens": token_embeds}


def check_sees(pipeline: JanusPipeline, sees: str) -> None:
    """Raises ValueError if a model cannot see pictures in the way that this key of `VISION_INPUTS` names."""
    if VISION_INPUTS[sees] is token_embeds and not isinstance(pipeline.model.generation, TokenGeneration):
        raise ValueError(
            f"sees must be encoder for a model without image tokens, got {sees} for "
            f"{pipeline.folder.name!r}; leave it out"
        )


def image_tokens(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Encodes images [H, W, 3] in [0, 1] as token ids [B, N]."""
    return pixel_tokens(pipeline, pipeline.image_processor.pixels(images).to(pipeline.device))


@torch.no_grad()
def pixel_tokens(pipeline: JanusPipeline, pixels: Tensor) -> Tensor:
    """Encodes pixels [B, 3, H, W] in [-1, 1] as token ids [B, N].

    Autocast is off: products in bf16 cannot tell neighbouring codes apart.
    """
    with torch.autocast(pixels.device.type, enabled=False):
        return pipeline.model.token_generation.encode(pixels)


@torch.no_grad()
def image_latents(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Encodes images [H, W, 3] in [0, 1] as latents [B, 4, h, w] of the flow, float32.

    Autocast is off: latents encoded in bf16 would be 2 % off.
    """
    pixels = pipeline.image_processor.pixels(images).to(pipeline.device)
    with torch.autocast(pixels.device.type, enabled=False):
        return pipeline.model.flow_generation.encode(pixels)


@torch.no_grad()
def image_features(pipeline: JanusPipeline, images: Sequence[Tensor]) -> Tensor:
    """Encodes images [H, W, 3] in [0, 1] with the vision tower: [B, N, C]."""
    pixel_values = pipeline.image_processor.pixel_values(images).to(pipeline.device)
    return pipeline.model.understanding.tower(pixel_values)


def generate_pictures(
    pipeline: JanusPipeline, prompt: str | Sequence[str], options: TokenSampling | FlowSampling
) -> list[np.ndarray]:
    """Generates pictures [H, W, 3] uint8 from a prompt, or from each of several."""
    images = pipeline.generate(prompt, options).images
    assert images is not None  # tokens can always be decoded, and latents with the VAE that training needs
    return to_pictures(images)


@torch.no_grad()
def reconstruct(pipeline: JanusPipeline, pictures: Sequence[np.ndarray]) -> tuple[list[np.ndarray], Tensor]:
    """Encodes and decodes pictures; returns pictures [H, W, 3] uint8, and their tokens or latents."""
    generation = pipeline.model.generation
    pixels = pipeline.image_processor.pixels(to_images(pictures)).to(pipeline.device)
    codes = generation.encode(pixels)
    return to_pictures(from_pixels(generation.decode(codes))), codes


def contact_sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Joins pictures of one size into a single one [H, W, 3] uint8, with two pixels around each."""
    framed = [np.pad(picture, ((2, 2), (2, 2), (0, 0)), constant_values=200) for picture in pictures]
    framed += [np.full_like(framed[0], 200)] * (-len(framed) % columns)  # empty places of the last line
    lines = [np.hstack(framed[start : start + columns]) for start in range(0, len(framed), columns)]
    return np.vstack(lines)


def progress_sheet(pipeline: JanusPipeline, data: TrainingData, with_generation: bool) -> np.ndarray:
    """Shows how far training is, [H, W, 3] uint8: pictures, their reconstructions, and drawings if wanted."""
    rng, columns = random.Random("samples"), 8
    size = pipeline.model.config.generation.image_size
    originals = [Image.fromarray(data.picture(rng)) for _ in range(columns)]
    pictures = [np.asarray(original.resize((size, size))) for original in originals]
    pictures += reconstruct(pipeline, pictures)[0]
    if with_generation:
        for prompt in data.prompts:
            pictures += generate_pictures(pipeline, prompt, pipeline.image_options())
    return contact_sheet(pictures, columns)
