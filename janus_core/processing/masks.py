"""Conversion of inpainting masks between image pixels and the model's grid of image tokens."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from .images import Frame

_log = logging.getLogger(__name__)

# Width of the feathered border of a redrawn area, in pixels of the model's square: a quarter of a token.
FEATHER = 4


def fit_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """Validates a mask and resizes it to an image, giving [H, W] float32 in [0, 1] on the CPU.

    The mask is [h, w] or [1, h, w], 0 where the image is kept. If its size differs, it is resized by area, so
    that any overlap with a masked pixel gives a value above 0, and a warning is logged.
    """
    if not isinstance(mask, Tensor):
        raise ValueError(f"mask must be a tensor [H, W], got {type(mask).__name__}; convert it")
    if mask.ndim not in (2, 3) or (mask.ndim == 3 and len(mask) != 1) or 0 in mask.shape:
        raise ValueError(f"mask must be one mask [H, W], got shape {list(mask.shape)}; choose one of a batch")
    values = mask.detach().cpu().float().view(1, 1, *mask.shape[-2:])
    if not bool(torch.isfinite(values).all()):
        raise ValueError("mask must contain finite numbers, got NaN or infinity; check what produced it")
    if values.shape[-2:] != (height, width):
        old_size = values.shape[3], values.shape[2]
        _log.warning("mask of %d x %d pixels is resized to the image's %d x %d", *old_size, width, height)
        values = F.interpolate(values.clamp(0.0, 1.0), size=(height, width), mode="area")
    return values[0, 0].clamp(0.0, 1.0)


def masked_tokens(area: Tensor, frame: Frame, grid_size: int, side: int) -> Tensor:
    """The image tokens, [N] bool, that overlap any pixel of an area, [H, W] bool.

    The image lies in the `frame` of a square that is `grid_size` tokens or `side` pixels wide. An area that
    covers the whole image selects all tokens, those of the letterbox bars included.
    """
    if bool(area.all()):
        return torch.ones(grid_size**2, dtype=torch.bool)
    vertical, horizontal = _overlaps(area.shape, frame, grid_size, side)
    return ((vertical @ area.float() @ horizontal.T) > 0).flatten()


def pixels_inside_tokens(tokens: Tensor, frame: Frame, height: int, width: int, side: int) -> Tensor:
    """The pixels of an image, [H, W] bool, that overlap no other than the selected tokens, [N] bool.

    `frame` and `side` are as in `masked_tokens`.
    """
    grid_size = round(len(tokens) ** 0.5)
    vertical, horizontal = _overlaps((height, width), frame, grid_size, side)
    others = (~tokens).view(grid_size, grid_size).float()
    return (vertical.T @ others @ horizontal) == 0


def feather_weights(area: Tensor, side: int) -> Tensor:
    """Blending weights of an area, [H, W] float32: 0 outside, rising to 1 from its border inwards.

    Parts too narrow for the full rise still reach 1 in their middle, independently of wider parts. The side
    of the model's square in pixels sets the scale of the border.
    """
    inside = area.float()[None, None]
    # Erode the area by one pixel of the square at a time. A pixel's level counts the erosions it survives.
    radius = max(1, round(max(area.shape) / side))
    levels = inside.clone()
    for _ in range(FEATHER - 1):
        inside = -_dilate(-inside, radius)
        levels += inside
    # Dividing by the highest level nearby makes narrow parts reach 1.
    return (levels / _dilate(levels, FEATHER * radius).clamp(min=1.0))[0, 0]


def remove_letterbox(images: Tensor, frame: Frame, height: int, width: int) -> Tensor:
    """Crops images [B, S, S, 3] to the frame and resizes them to [B, H, W, 3], in [0, 1]."""
    cropped = images[:, frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    if cropped.shape[1:3] == (height, width):
        return cropped
    resized = F.interpolate(cropped.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", antialias=True)
    return resized.clamp(0.0, 1.0).permute(0, 2, 3, 1)


def _dilate(values: Tensor, radius: int) -> Tensor:
    """The maximum of [1, 1, H, W] over the square of this radius around each pixel, one axis at a time."""
    columns = F.max_pool2d(values, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(columns, (1, 2 * radius + 1), stride=1, padding=(0, radius))


def _overlaps(size: tuple[int, ...], frame: Frame, grid_size: int, side: int) -> tuple[Tensor, Tensor]:
    """Which token rows overlap which pixel rows, [grid, H] of 0 and 1, and the same of columns, [grid, W]."""

    def overlaps(pixels: int, offset: int, length: int) -> Tensor:
        # Integers avoid rounding: a pixel of the square is `pixels` units long, one of the image `length`.
        pixel = offset * pixels + torch.arange(pixels) * length
        token_length = side // grid_size * pixels
        token = torch.arange(grid_size)[:, None] * token_length
        return ((pixel + length > token) & (pixel < token + token_length)).float()

    return overlaps(size[0], frame.top, frame.height), overlaps(size[1], frame.left, frame.width)
