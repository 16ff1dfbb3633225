"""Image generation from a text prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sampling import IMAGE_SAMPLERS
from ..sampling.guidance import uses_guidance
from ..sampling.options import FlowSampling, TokenSampling
from ..sampling.results import GeneratedImages, GeneratedLatents
from ..sampling.steps import OnImage, OnStep, part_of
from .codecs import decode_pixels
from .runtime import Runtime
from .workspace import drawing_bytes


def generate_images(
    runtime: Runtime,
    prompt: str,
    negative_prompt: str,
    options: TokenSampling | FlowSampling,
    starts: dict[str, Tensor],
    pixels: bool,
    on_step: OnStep,
    on_image: OnImage,
) -> GeneratedImages | GeneratedLatents:
    """Draws `options.batch_size` images of a prompt; `JanusPipeline.generate` describes the arguments.

    Args:
        runtime: the model.
        prompt: the description.
        negative_prompt: replaces the unconditional prompt.
        options: of this model's sampler.
        starts: tensors that the sampler starts from, by name.
        pixels: whether to decode images.
        on_step: called after every step; raise to cancel.
        on_image: called after every decoded image; raise to cancel.
    """
    model = runtime.model
    sampler = IMAGE_SAMPLERS[type(model.generation)]
    num_tokens = model.generation.config.num_tokens
    batch = runtime.prompts.generation(
        prompt, negative_prompt, uses_guidance(options.guidance_scale), num_tokens, sampler.prompt_style
    )
    pixels = pixels and model.generation.can_decode
    runtime.reserve(drawing_bytes(runtime, batch, options.batch_size, pixels))

    batch = batch.to(runtime.device)
    chunks = runtime.chunks(options.batch_size)
    samples = torch.cat(
        [
            sampler.sample(model, batch, options, chunk, part_of(on_step, number, len(chunks)), **starts)
            for number, chunk in enumerate(chunks)
        ]
    )
    return sampler.result(decode_pixels(runtime, samples, on_image) if pixels else None, samples)
