"""Between a mask on a picture and the tokens of the model's square, and back onto the picture."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from .images import Frame

_log = logging.getLogger(__name__)

# How far a redrawn area fades into its surroundings, in pixels of the model's square: a quarter of a token.
FEATHER = 4


def fit_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask of a picture's size, [H, W] float32 in [0, 1] on the CPU.

    Args:
        mask: [h, w] or [1, h, w], 0 where the picture stays. Of another size it is resized, and every pixel
            that a masked one falls on is masked; the log says so.
        height: H.
        width: W.

    Raises:
        ValueError: if it is no mask.
    """
    if not isinstance(mask, Tensor):
        raise ValueError(f"mask must be a tensor [H, W], got {type(mask).__name__}; convert it")
    if mask.ndim not in (2, 3) or (mask.ndim == 3 and len(mask) != 1) or 0 in mask.shape:
        raise ValueError(f"mask must be one mask [H, W], got shape {list(mask.shape)}; choose one of a batch")
    values = mask.detach().cpu().float().view(1, 1, *mask.shape[-2:])
    if not bool(torch.isfinite(values).all()):
        raise ValueError("mask must hold finite numbers, got NaN or infinity; check what made it")
    if values.shape[-2:] != (height, width):
        _log.warning(
            "mask of %d x %d pixels is resized to the image's %d x %d",
            values.shape[-1],
            values.shape[-2],
            width,
            height,
        )
        values = F.interpolate(values.clamp(0.0, 1.0), size=(height, width), mode="area")
    return values[0, 0].clamp(0.0, 1.0)


def masked_tokens(area: Tensor, frame: Frame, grid_size: int, side: int) -> Tensor:
    """The tokens that any pixel of an area falls on, [N] bool.

    An area that is the whole picture takes in the bars beside it as well: nothing is kept then.

    Args:
        area: [H, W] bool on the picture.
        frame: where the picture lies in the square.
        grid_size: tokens along a side of the square.
        side: pixels along a side of the square.
    """
    if bool(area.all()):
        return torch.ones(grid_size**2, dtype=torch.bool)
    down, across = _overlaps(area.shape, frame, grid_size, side)
    return ((down @ area.float() @ across.T) > 0).flatten()


def pixels_inside_tokens(tokens: Tensor, frame: Frame, height: int, width: int, side: int) -> Tensor:
    """The pixels of a picture that lie on these tokens and on no other, [H, W] bool.

    Args:
        tokens: [N] bool.
        frame: where the picture lies in the square.
        height: H.
        width: W.
        side: pixels along a side of the square.
    """
    grid_size = round(len(tokens) ** 0.5)
    down, across = _overlaps((height, width), frame, grid_size, side)
    others = (~tokens).view(grid_size, grid_size).float()
    return (down.T @ others @ across) == 0


def feather_weights(area: Tensor, side: int) -> Tensor:
    """Weights [H, W] float32: 0 outside an area, and rising within it from its seam to 1.

    Where an area is too narrow for that, it rises to 1 in its middle, whatever is wider elsewhere.

    Args:
        area: [H, W] bool on a picture.
        side: pixels along a side of the model's square.
    """
    inside = area.float()[None, None]
    # One level of the rise: as many pixels of the picture as one of the square has.
    reach = max(1, round(max(area.shape) / side))
    levels = inside.clone()
    for _ in range(FEATHER - 1):
        inside = -_largest_near(-inside, reach)
        levels += inside
    return (levels / _largest_near(levels, FEATHER * reach).clamp(min=1.0))[0, 0]


def _largest_near(values: Tensor, reach: int) -> Tensor:
    """The largest of the values [1, 1, H, W] up to so many pixels away, along both sides."""
    rows = F.max_pool2d(values, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    return F.max_pool2d(rows, (1, 2 * reach + 1), stride=1, padding=(0, reach))


def remove_letterbox(images: Tensor, frame: Frame, height: int, width: int) -> Tensor:
    """Cuts pictures out of squares [B, S, S, 3] and resizes them to [B, H, W, 3], in [0, 1]."""
    cut = images[:, frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
    if cut.shape[1:3] == (height, width):
        return cut
    resized = F.interpolate(cut.permute(0, 3, 1, 2), size=(height, width), mode="bicubic", antialias=True)
    return resized.clamp(0.0, 1.0).permute(0, 2, 3, 1)


def _overlaps(size: tuple[int, ...], frame: Frame, grid_size: int, side: int) -> tuple[Tensor, Tensor]:
    """Which rows of tokens overlap which rows of pixels, [grid, H], and the same of columns, [grid, W]."""
    axes = ((size[0], frame.top, frame.height), (size[1], frame.left, frame.width))
    tables = []
    for pixels, offset, length in axes:
        # In whole numbers: both grids are laid on one of `pixels` steps per pixel of the square.
        start = offset * pixels + torch.arange(pixels) * length
        token = torch.arange(grid_size)[:, None] * (side // grid_size) * pixels
        tables.append(((start + length > token) & (start < token + side // grid_size * pixels)).float())
    return tables[0], tables[1]
