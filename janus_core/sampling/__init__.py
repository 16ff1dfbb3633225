"""The loops that turn a prompt into text or an image: functions over a model that know no tokenizer."""

from __future__ import annotations

from ..models.flow_generation import FlowGeneration
from ..models.token_generation import TokenGeneration
from ..prompt_batch import GenerationPromptStyle
from .flow import integrate_flow
from .image_sampler import ImageSampler
from .options import FlowSampling, TokenSampling
from .results import GeneratedImages, GeneratedLatents
from .tokens import sample_image_tokens

# The second of the two dispatches between ways of drawing; `models.janus` holds the first.
IMAGE_SAMPLERS: dict[type, ImageSampler] = {
    TokenGeneration: ImageSampler(
        sample=sample_image_tokens,
        options=TokenSampling,
        form=GenerationPromptStyle(),
        result=GeneratedImages,
        starts=(),
        name="image tokens",
        node="Janus Generate",
    ),
    FlowGeneration: ImageSampler(
        sample=integrate_flow,
        options=FlowSampling,
        form=GenerationPromptStyle(includes_image_start=False, masks_padding=True),
        result=GeneratedLatents,
        starts=("noise", "latents"),
        name="a flow of latents",
        node="JanusFlow Sampler",
    ),
}
