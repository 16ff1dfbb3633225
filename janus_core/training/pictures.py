"""Pictures of samples to images of the pipeline, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..pipeline.pipeline import JanusPipeline
from ..sampling.options import TokenSampling


def to_images(pictures: Sequence[np.ndarray]) -> list[Tensor]:
    """Pictures [H, W, 3] uint8 to images [H, W, 3] in [0, 1]."""
    return [torch.from_numpy(picture.astype(np.float32) / 255) for picture in pictures]


def to_pictures(images: Tensor) -> list[np.ndarray]:
    """Images [B, H, W, 3] in [0, 1] to pictures [H, W, 3] uint8."""
    return list((images * 255).round().to(torch.uint8).cpu().numpy())


def drawn(pipeline: JanusPipeline, prompt: str, options: TokenSampling) -> list[np.ndarray]:
    """Draws a prompt; pictures [H, W, 3] uint8."""
    images = pipeline.generate(prompt, options).images
    assert images is not None  # a model that draws by tokens always has pixels
    return to_pictures(images)


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """One picture of many of one size, row by row, with a margin of two pixels around each."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 200, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + 4) + 2, index % columns * (width + 4) + 2
        sheet[top : top + height, left : left + width] = picture
    return sheet
