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
# Masks with all values below half an 8-bit step change no pixel of a saved image, so they count as empty.
SMALLEST_WEIGHT = 0.5 / 255


def checked_masks(mask: Tensor, num_images: int) -> Tensor:
    """Validates the masks of a batch of images, giving [M, h, w] float32 in [0, 1] on the CPU.

    Args:
        mask: [h, w], or [M, h, w] or [M, 1, h, w] where M is 1 or `num_images`; 0 where an image is kept. In
            masks of integers or bools, any value above 0 counts as 1. Floats outside [0, 1] are clipped, with
            a warning in the log.
        num_images: the size of the batch.

    Raises:
        ValueError: if the mask has another shape, or holds NaN or infinity.
    """
    if not isinstance(mask, Tensor):
        raise ValueError(f"mask must be a tensor [H, W], got {type(mask).__name__}; convert it")
    shape = list(mask.shape)
    if len(shape) == 4 and shape[1] == 1:
        mask = mask[:, 0]
    if mask.ndim not in (2, 3) or 0 in shape:
        raise ValueError(
            f"mask must be one mask [H, W], or a batch [B, H, W] with one for each image, got shape {shape}; "
            "pass one of these"
        )
    values = mask.detach().cpu().float().view(-1, *mask.shape[-2:])
    if len(values) not in (1, num_images):
        raise ValueError(
            f"mask must be one mask, or one for each image ({num_images} here), got {len(values)}; choose "
            "those that belong to the images"
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError("mask must contain finite numbers, got NaN or infinity; check what produced it")
    lowest, highest = values.min().item(), values.max().item()
    if mask.is_floating_point() and (lowest < 0.0 or highest > 1.0):
        _log.warning("mask has values from %g to %g, which are clipped to 0 to 1", lowest, highest)
    return values.clamp(0.0, 1.0)


def selects_any(masks: Tensor) -> Tensor:
    """Whether each mask [M, h, w] of values in [0, 1] selects anything: [M] bool, False for empty ones."""
    return masks.flatten(1).amax(dim=1) >= SMALLEST_WEIGHT


def fit_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Resizes checked masks [M, h, w] to the size of the images, [M, H, W].

    Masks of that size are returned as they are. Otherwise each pixel takes the maximum of the mask's pixels
    that it overlaps, so that single pixels of a large mask keep their full value, and a warning is logged.
    """
    if masks.shape[1:] == (height, width):
        return masks
    old_size = masks.shape[2], masks.shape[1]
    _log.warning("mask of %d x %d pixels is resized to the image's %d x %d", *old_size, width, height)
    return F.adaptive_max_pool2d(masks, (height, width))


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


def bounding_box(area: Tensor) -> tuple[slice, slice]:
    """Rows and columns that an area [H, W] bool spans, with a margin of one pixel; empty if the area is."""
    return _extent(area.any(dim=1)), _extent(area.any(dim=0))


def _extent(selected: Tensor) -> slice:
    places = selected.nonzero()
    if len(places) == 0:
        return slice(0, 0)
    return slice(max(int(places[0]) - 1, 0), int(places[-1]) + 2)


def feather_radius(height: int, width: int, side: int) -> int:
    """Width in image pixels of one pixel of the model's square, which is `side` pixels wide; at least 1."""
    return max(1, round(max(height, width) / side))


def feather_weights(area: Tensor, radius: int) -> Tensor:
    """Blending weights of an area, [H, W] float32: 0 outside, rising to 1 from its border inwards.

    Parts too narrow for the full rise still reach 1 in their middle, independently of wider parts. A cut-out
    of an area around its bounding box has the weights that it has within the whole.
    """
    # Erode the area by one pixel of the square at a time. A pixel's level counts the erosions it survives.
    outside = (~area).to(torch.uint8)
    levels = 1 - outside
    for _ in range(FEATHER - 1):
        outside = _dilate(outside, radius)
        levels += 1 - outside
    # Dividing by the highest level nearby makes narrow parts reach 1.
    return levels / _dilate(levels, FEATHER * radius).clamp(min=1)


def remove_letterbox(images: Tensor, frame: Frame, height: int, width: int) -> Tensor:
    """Crops images [B, S, S, 3] to the frame and resizes them to [B, H, W, 3], in [0, 1]."""
    cropped = images[:, frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    if cropped.shape[1:3] == (height, width):
        return cropped
    resized = F.interpolate(cropped.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", antialias=True)
    return resized.clamp(0.0, 1.0).permute(0, 2, 3, 1)


def blend(source: Tensor, drawn: Tensor, weights: Tensor) -> Tensor:
    """Blends drawn pixels [H, W, 3] into a source [H, W, C], C being 1, 3 or 4, by weights [H, W].

    Returns:
        [H, W, 4] for a source with an alpha channel, else [H, W, 3]. Drawn pixels are opaque. At weight 0,
        the result is exactly the source, colours beneath its transparent parts included.
    """
    weights = weights[..., None]
    if source.shape[-1] != 4:
        return torch.lerp(source.expand(-1, -1, 3), drawn, weights)
    colours, alpha = source[..., :3], source[..., 3:]
    # Colours count by their opacity, so that those hidden in the source do not shine through the border.
    opacity = torch.lerp(alpha, torch.ones_like(alpha), weights)
    mixed = torch.lerp(colours * alpha, drawn, weights) / opacity
    return torch.where(weights > 0, torch.cat((mixed, opacity), dim=-1), source)


def _dilate(values: Tensor, radius: int) -> Tensor:
    """The maximum of [H, W] unsigned numbers over the square of this radius around each, by axes."""
    return _windows_maximum(_windows_maximum(values, radius, 0), radius, 1)


def _windows_maximum(values: Tensor, radius: int, dim: int) -> Tensor:
    """The maximum over the window of `radius` values before and after each, along one dimension.

    Windows are doubled until two of them cover the whole length, so the cost is logarithmic in `radius`.
    """
    if values.numel() == 0:  # PyTorch 2.5 does not pad it
        return values
    count, length = values.shape[dim], 2 * radius + 1
    ends = (radius, radius) if dim == 1 else (0, 0, radius, radius)
    values, covered = F.pad(values, ends), 1  # zeros do not affect the maximum
    while 2 * covered <= length:
        size = values.shape[dim] - covered
        values = torch.maximum(values.narrow(dim, 0, size), values.narrow(dim, covered, size))
        covered *= 2
    return torch.maximum(values.narrow(dim, 0, count), values.narrow(dim, length - covered, count))


def _overlaps(size: tuple[int, ...], frame: Frame, grid_size: int, side: int) -> tuple[Tensor, Tensor]:
    """Which token rows overlap which pixel rows, [grid, H] of 0 and 1, and the same of columns, [grid, W]."""

    def overlaps(pixels: int, offset: int, length: int) -> Tensor:
        # Integers avoid rounding: a pixel of the square is `pixels` units long, one of the image `length`.
        pixel = offset * pixels + torch.arange(pixels) * length
        token_length = side // grid_size * pixels
        token = torch.arange(grid_size)[:, None] * token_length
        return ((pixel + length > token) & (pixel < token + token_length)).float()

    return overlaps(size[0], frame.top, frame.height), overlaps(size[1], frame.left, frame.width)
