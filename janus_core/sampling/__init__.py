"""Sampling loops: functions over a model that turn prompts into text or images, without a tokenizer."""

from __future__ import annotations

from ..models.flow_generation import FlowGeneration
from ..models.token_generation import TokenGeneration
from ..prompt_batch import GenerationPromptStyle
from .flow import integrate_flow
from .image_sampler import ImageSampler
from .options import FlowSampling, TokenSampling
from .results import GeneratedImages, GeneratedLatents
from .tokens import sample_image_tokens

# By the class of `model.generation`, which `models.janus` chooses.
IMAGE_SAMPLERS: dict[type, ImageSampler] = {
    TokenGeneration: ImageSampler(
        sample=sample_image_tokens,
        options=TokenSampling,
        prompt_style=GenerationPromptStyle(),
        result=GeneratedImages,
        starts=(),
        method="token by token",
    ),
    FlowGeneration: ImageSampler(
        sample=integrate_flow,
        options=FlowSampling,
        prompt_style=GenerationPromptStyle(includes_image_start=False, masks_padding=True),
        result=GeneratedLatents,
        starts=("noise", "latents"),
        method="by flow",
    ),
}
