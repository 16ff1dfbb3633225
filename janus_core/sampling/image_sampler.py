"""Describes an image sampler: its loop, options, prompt style and result type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..prompt_batch import GenerationPromptStyle
from .options import FlowSampling, TokenSampling
from .results import GeneratedImages, GeneratedLatents


@dataclass(frozen=True)
class ImageSampler:
    """A way to generate images.

    Attributes:
        sample: the loop.
        options: class of its options.
        prompt_style: how its prompts are written.
        result: makes the result of pixels (or None) and of what `sample` returns.
        starts: names of the tensors that `sample` can start from.
        method: how images are generated, for error messages.
    """

    sample: Callable[..., Tensor]
    options: type[TokenSampling | FlowSampling]
    prompt_style: GenerationPromptStyle
    result: Callable[[Any, Tensor], GeneratedImages | GeneratedLatents]
    starts: tuple[str, ...]
    method: str

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
