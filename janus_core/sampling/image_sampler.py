"""What there is to know of a way of drawing: its loop, and what goes in and comes out."""

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
    """A way of drawing.

    Attributes:
        sample: the loop.
        options: class of its options.
        form: what it wants of the prompt's rows.
        result: makes what is given back of pixels (if there are any) and of what `sample` returns.
        starts: names of tensors that `sample` may start from.
        name: for messages.
        node: what draws this way in ComfyUI, for messages.
    """

    sample: Callable[..., Tensor]
    options: type[TokenSampling | FlowSampling]
    form: GenerationPromptStyle
    result: Callable[[Any, Tensor], GeneratedImages | GeneratedLatents]
    starts: tuple[str, ...]
    name: str
    node: str

    def checked_options(
        self, options: TokenSampling | FlowSampling, checkpoint: str
    ) -> TokenSampling | FlowSampling:
        """The same options.

        Args:
            options: of any way of drawing.
            checkpoint: whose way of drawing this is, for the message.

        Raises:
            ValueError: if they are those of another way; it says what to use.
        """
        if not isinstance(options, self.options):
            raise ValueError(
                f"model must draw by what {type(options).__name__} is for, got {checkpoint!r}, which draws "
                f"by {self.name}; use {self.options.__name__} ({self.node} in ComfyUI), or another checkpoint"
            )
        return options

    def checked_starts(self, starts: Mapping[str, Tensor | None], checkpoint: str) -> dict[str, Tensor]:
        """What there is of tensors to start from.

        Args:
            starts: by name; None for those that are not given.
            checkpoint: whose way of drawing this is, for the message.

        Raises:
            ValueError: if one is given that this way of drawing has no use for.
        """
        given = {name: value for name, value in starts.items() if value is not None}
        for name in given.keys() - set(self.starts):
            raise ValueError(
                f"{name} must be None for {checkpoint!r}, which draws by {self.name}, got a tensor; "
                "leave it out"
            )
        return given
