"""What may stand for images: tensors, lists of them, features or tokens made of them before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class VisionFeatures:
    """What the understanding encoder makes of images.

    Attributes:
        image_embeds: [B, N, C] after the aligner: what the body reads, one more where the model learned one
            for an image's start. `understand` takes it in place of images.
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
        else checked_images(place[None] if getattr(place, "ndim", 4) == 3 else place)
        for place in images
    ]


def checked_images(images: Tensor) -> Tensor:
    """The same batch, if it is one.

    Raises:
        ValueError: if it is not [B, H, W, C] with at least one image.
    """
    if not isinstance(images, Tensor):
        raise ValueError(
            f"images must be a tensor [B, H, W, C], got {type(images).__name__}; convert it with "
            "torch.as_tensor"
        )
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"images must be a batch [B, H, W, C] with at least one image, got shape {list(images.shape)}; "
            "add a batch dimension or pass an image"
        )
    return images


def question_rows(
    question: str | Sequence[str], images: Images | None, embeds_shape: tuple[int, int]
) -> tuple[list[str], list[Tensor | VisionFeatures]]:
    """Questions and images as rows.

    Args:
        question: one for all rows, or one per row.
        images: what `understand` takes.
        embeds_shape: positions and width of this model's features of one image.

    Returns:
        One question per row, and one batch per image of a question, of one image or one per row.

    Raises:
        ValueError: if their numbers do not match, or features are another kind of model's.
    """
    places = image_places(images)
    for place in places:
        if isinstance(place, VisionFeatures):
            check_embeds("features", place.image_embeds, embeds_shape)
    questions = [question] if isinstance(question, str) else list(question)
    if not questions:
        raise ValueError(
            "question must be a text or at least one text per row, got an empty list; pass a question"
        )
    rows = max([len(questions), *map(len, places)])
    for name, count in (("questions", len(questions)), *(("images", len(place)) for place in places)):
        if count not in (1, rows):
            raise ValueError(
                f"{name} must be 1 or as many as there are rows, got {count} for {rows} rows; repeat them"
            )
    return questions * (rows // len(questions)), places


def check_embeds(name: str, image_embeds: Tensor, embeds_shape: tuple[int, int]) -> None:
    """Refuses embeddings [B, N, C] of images whose N and C are another kind of model's.

    Raises:
        ValueError: if they are.
    """
    if image_embeds.shape[1:] != embeds_shape:
        raise ValueError(
            f"{name} must be [B, {embeds_shape[0]}, {embeds_shape[1]}] as this model's, got shape "
            f"{list(image_embeds.shape)}; encode the images with this model"
        )


def checked_tokens(tokens: Tensor, width: int, codes: int) -> Tensor:
    """The same ids, if they are whole rows of images.

    Args:
        tokens: [B, N].
        width: tokens per row of an image, and rows of a whole one.
        codes: entries of the codebook.

    Raises:
        ValueError: if they are not.
    """
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] not in range(width, width * width + 1, width):
        raise ValueError(
            f"tokens must be [B, N], N a multiple of the model's {width} tokens per row, {width**2} at most, "
            f"got shape {list(tokens.shape)}; pass what encode_tokens or generate of such a model returned"
        )
    whole = not tokens.is_floating_point() and tokens.dtype is not torch.bool
    if not whole or int(tokens.min()) < 0 or int(tokens.max()) >= codes:
        raise ValueError(
            f"tokens must be whole numbers from 0 to {codes - 1}, the model's codebook, got "
            f"{tokens.dtype} from {tokens.min().item()} to {tokens.max().item()}; "
            "encode the image with this model"
        )
    return tokens
