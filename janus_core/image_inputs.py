"""What may stand for images in a question: tensors, lists of them, or features made of them before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VisionFeatures:
    """What the understanding encoder makes of images.

    Attributes:
        image_embeds: [B, N, C] after the aligner: what the body reads. `understand` takes it in place of
            images.
        last_hidden_state: [B, N, C_vision] of the tower itself, after its final norm.
    """

    image_embeds: Tensor
    last_hidden_state: Tensor

    def __len__(self) -> int:
        return len(self.image_embeds)

    def __getitem__(self, rows: Sequence[int]) -> VisionFeatures:
        return VisionFeatures(self.image_embeds[list(rows)], self.last_hidden_state[list(rows)])

    def split(self, size: int) -> list[VisionFeatures]:
        """Batches of `size` images, as `Tensor.split` gives them."""
        pairs = zip(self.image_embeds.split(size), self.last_hidden_state.split(size), strict=True)
        return [VisionFeatures(embeds, state) for embeds, state in pairs]

    def to(self, device: torch.device | str) -> VisionFeatures:
        """The same features on another device."""
        return VisionFeatures(self.image_embeds.to(device), self.last_hidden_state.to(device))


Images = Tensor | VisionFeatures | Sequence[Tensor | VisionFeatures]


def image_places(images: Images | None) -> list[Tensor | VisionFeatures]:
    """One entry per image of a question, each a batch over questions.

    Raises:
        ValueError: if there is no image where some are promised.
    """
    if images is None:
        return []
    if isinstance(images, (Tensor, VisionFeatures)):
        images = [images]
    if not images:
        raise ValueError("images must hold at least one image, got none; pass None to ask without an image")
    return [
        place
        if isinstance(place, VisionFeatures)
        else checked_images(place[None] if place.ndim == 3 else place)
        for place in images
    ]


def check_features(places: Sequence[Tensor | VisionFeatures], num_positions: int, hidden_size: int) -> None:
    """Makes sure that features among the images are of the kind of model that is to read them.

    Raises:
        ValueError: if they have another number of positions or another width.
    """
    for place in places:
        if isinstance(place, VisionFeatures) and place.image_embeds.shape[1:] != (num_positions, hidden_size):
            raise ValueError(
                f"features must be [B, {num_positions}, {hidden_size}] as this model's, got shape "
                f"{list(place.image_embeds.shape)}; encode the images with this model"
            )


def checked_images(images: Tensor) -> Tensor:
    """The same batch, if it is one.

    Raises:
        ValueError: if it is not [B, H, W, C] with at least one image.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images must be a batch [B, H, W, C] with at least one image, got shape {list(images.shape)}; "
            "add a batch dimension or pass an image"
        )
    return images
