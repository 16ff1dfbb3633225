"""Image samplers: loop, options, prompt style and result type of each way to generate images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.flow_generation import FlowGeneration
from ..models.token_generation import TokenGeneration
from ..prompt_batch import GenerationPromptStyle
from .flow import integrate_flow
from .options import FlowSampling, TokenSampling, own_names, resolved
from .results import DrawnTokens, GeneratedImages, GeneratedLatents
from .tokens import sample_image_tokens

Decode = Callable[[Tensor], Any]
"""Images [B, H, W, 3] of tokens or latents; None if none are wanted."""


@dataclass(frozen=True)
class ImageSampler:
    """A way to generate images."""

    sample: Callable[..., Any]  # draws a batch
    published: TokenSampling | FlowSampling  # values for checkpoints that state none
    prompt_style: GenerationPromptStyle
    result: Callable[[Any, Decode], GeneratedImages | GeneratedLatents]  # of what was drawn, batch by batch
    starts: tuple[str, ...]  # names of the tensors that `sample` can start from
    joins_prompts: bool  # whether `sample` draws several prompts at once, whose number is `num_sources`
    method: str  # how images are generated, for error messages

    @property
    def options(self) -> type[TokenSampling | FlowSampling]:
        """The class of the options."""
        return type(self.published)

    def own_options(self, stated: Mapping[str, Any]) -> TokenSampling | FlowSampling:
        """The values that a checkpoint states, and the published ones of the others.

        Raises:
            ValueError: if a value is out of range, or a checkpoint cannot state it.
        """
        names = own_names(self.options)
        if not isinstance(stated, Mapping) or stated.keys() - set(names):
            raise ValueError(f"only {', '.join(names)} can be stated")
        return resolved(self.options(**stated), self.published)

    def stated(self, own: TokenSampling | FlowSampling) -> dict[str, float]:
        """What a checkpoint with these values has to state."""
        values = {name: getattr(own, name) for name in own_names(self.options)}
        return {name: value for name, value in values.items() if value != getattr(self.published, name)}

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


def _images(batches: Sequence[DrawnTokens], decode: Decode) -> GeneratedImages:
    drawn = DrawnTokens.joined(batches)
    return GeneratedImages(decode(drawn.tokens), drawn.tokens, drawn.passes)


def _latents(batches: Sequence[Tensor], decode: Decode) -> GeneratedLatents:
    latents = torch.cat(list(batches))
    return GeneratedLatents(decode(latents), latents)


# By the class of `model.generation`, which `models.janus` chooses.
IMAGE_SAMPLERS: dict[type, ImageSampler] = {
    TokenGeneration: ImageSampler(
        sample=sample_image_tokens,
        published=TokenSampling(guidance_scale=5.0, temperature=1.0, top_k=0, top_p=1.0),
        prompt_style=GenerationPromptStyle(),
        result=_images,
        starts=(),
        joins_prompts=True,
        method="token by token",
    ),
    FlowGeneration: ImageSampler(
        sample=integrate_flow,
        published=FlowSampling(num_steps=30, guidance_scale=2.0),
        prompt_style=GenerationPromptStyle(includes_image_start=False, masks_padding=True),
        result=_latents,
        starts=("noise", "latents"),
        joins_prompts=False,
        method="by flow",
    ),
}
