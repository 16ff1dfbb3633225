"""Images, image tokens and options as callers pass them, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..arguments import shown
from ..processing.images import check_pixels

Options = TypeVar("Options")
TENSOR_FIX = "convert an image of numpy or Pillow with torch.tensor(numpy.array(picture)) / 255"


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """What the understanding encoder computes for a batch of images.

    Attributes:
        image_embeds: [B, N, C] after the aligner, the inputs of the language model; one position more where
            the model has a learned start embedding. `understand` takes them in place of images.
        last_hidden_state: [B, N, C_vision] of the vision tower, after its final norm.
        unfamiliar: for each image, whether it is unlike all that the checkpoint knows; empty where the
            checkpoint does not tell.
    """

    image_embeds: Tensor
    last_hidden_state: Tensor
    unfamiliar: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.image_embeds)

    def __getitem__(self, indices: Sequence[int]) -> VisionFeatures:
        unfamiliar = tuple(self.unfamiliar[index] for index in indices) if self.unfamiliar else ()
        embeds, state = self.image_embeds[list(indices)], self.last_hidden_state[list(indices)]
        return VisionFeatures(embeds, state, unfamiliar)

    def split(self, size: int) -> list[VisionFeatures]:
        """Batches of `size` images, as `Tensor.split` gives them."""
        starts = range(0, len(self), size)
        return [self[range(start, min(start + size, len(self)))] for start in starts]

    def to(self, device: torch.device | str) -> VisionFeatures:
        """The same features on another device."""
        return replace(
            self,
            image_embeds=self.image_embeds.to(device),
            last_hidden_state=self.last_hidden_state.to(device),
        )


ImageBatch = Tensor | VisionFeatures
"""Images [B, H, W, C] in [0, 1], or their features."""

Images = ImageBatch | Sequence[ImageBatch]
"""One image per question, or a sequence with a batch for each image of a question."""


def image_batches(images: Images | None) -> list[ImageBatch]:
    """One batch for each image of a question; empty without images.

    Raises:
        ValueError: if a sequence is empty, or an entry is no batch of images.
    """
    if images is None:
        return []
    if isinstance(images, (Tensor, VisionFeatures)):
        images = [images]
    if not isinstance(images, (list, tuple)):
        raise ValueError(f"images must be a tensor [B, H, W, C], got {shown(images)}; {TENSOR_FIX}")
    if not images:
        raise ValueError("images must hold at least one image, got none; pass None to ask without an image")
    return [
        batch
        if isinstance(batch, VisionFeatures)
        else checked_images(batch[None] if isinstance(batch, Tensor) and batch.ndim == 3 else batch)
        for batch in images
    ]


def checked_images(images: Tensor) -> Tensor:
    """The same images, or a ValueError if they are not [B, H, W, C] in [0, 1] with at least one image."""
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a tensor [B, H, W, C], got {shown(images)}; {TENSOR_FIX}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images must be a batch [B, H, W, C] with at least one image, got shape {list(images.shape)}; "
            "add a batch dimension or pass an image"
        )
    for image in images:
        check_pixels(image)
    return images


def check_embeds(name: str, image_embeds: Tensor, embeds_shape: tuple[int, int]) -> None:
    """Raises ValueError if image embeddings [B, N, C] are not of this model's `embeds_shape` (N, C)."""
    if image_embeds.shape[1:] != embeds_shape:
        raise ValueError(
            f"{name} must be [B, {embeds_shape[0]}, {embeds_shape[1]}] as this model's, got shape "
            f"{list(image_embeds.shape)}; encode the images with this model"
        )


def checked_tokens(tokens: Tensor, grid_size: int, codebook_size: int) -> Tensor:
    """The same image tokens [B, N], or a ValueError if they are not whole rows of ids in the codebook."""
    lengths = range(grid_size, grid_size**2 + 1, grid_size)
    if not isinstance(tokens, Tensor):
        raise ValueError(
            f"tokens must be a tensor [B, N], got {shown(tokens)}; pass what encode_tokens or generate "
            "returned"
        )
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] not in lengths:
        raise ValueError(
            f"tokens must be [B, N], N a multiple of the model's {grid_size} tokens per row, "
            f"{grid_size**2} at most, got shape {list(tokens.shape)}; pass what encode_tokens or generate of "
            "such a model returned"
        )
    integers = not tokens.is_floating_point() and tokens.dtype is not torch.bool
    if not integers or int(tokens.min()) < 0 or int(tokens.max()) >= codebook_size:
        raise ValueError(
            f"tokens must be whole numbers from 0 to {codebook_size - 1}, the model's codebook, got "
            f"{tokens.dtype} from {tokens.min().item()} to {tokens.max().item()}; "
            "encode the image with this model"
        )
    return tokens


def checked_options(
    options: Options | None, default: Options, kinds: tuple[type, ...] = (), name: str = "options"
) -> Options:
    """The same options, or the default for None; a ValueError if they are not of its class or of `kinds`."""
    kinds = kinds or (type(default),)
    if options is not None and not isinstance(options, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"{name} must be {names}, got {shown(options)}; pass them as {kinds[0].__name__}(…), or leave "
            "them out"
        )
    return default if options is None else options
