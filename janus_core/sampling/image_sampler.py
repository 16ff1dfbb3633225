"""Image samplers: loop, options, prompt style and result type of each way to generate images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..models.flow_generation import FlowGeneration
from ..models.token_generation import TokenGeneration
from ..prompt_batch import GenerationPromptStyle
from .flow import integrate_flow
from .options import FlowSampling, TokenSampling
from .results import GeneratedImages, GeneratedLatents
from .tokens import sample_image_tokens


@dataclass(frozen=True)
class ImageSampler:
    """A way to generate images."""

    sample: Callable[..., Tensor]
    options: type[TokenSampling | FlowSampling]
    prompt_style: GenerationPromptStyle
    result: Callable[[Any, Tensor], GeneratedImages | GeneratedLatents]  # of pixels or None, and samples
    starts: tuple[str, ...]  # names of the tensors that `sample` can start from
    method: str  # how images are generated, for error messages

    def checked_options(
        self, options: TokenSampling | FlowSampling, checkpoint: str
    ) -> TokenSampling | FlowSampling:
        """Returns the options, or raises ValueError if they are those of another sampler."""
        if not isinstance(options, self.options):
            raise ValueError(
                f"model must generate images with {type(options).__name__}, got {checkpoint!r}, which "
                f"generates them {self.method}; use {self.options.__name__}, or load another checkpoint"
            )
        return options

    def checked_starts(self, starts: Mapping[str, Tensor | None], checkpoint: str) -> dict[str, Tensor]:
        """Returns the tensors that are not None, or raises ValueError if this sampler cannot use one."""
        given = {name: tensor for name, tensor in starts.items() if tensor is not None}
        for name in given.keys() - set(self.starts):
            raise ValueError(
                f"{name} must be None for {checkpoint!r}, which generates images {self.method}, "
                "got a tensor; leave it out"
            )
        return given


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
