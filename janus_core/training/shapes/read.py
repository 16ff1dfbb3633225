"""Reads a picture back into its scene, to judge what a model has drawn."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from .draw import shape_mask
from .scene import BACKGROUNDS, CELL_SIZE, COLOURS, SHAPES, SIZES, Scene, SceneObject, reading_order

_MIN_DISTANCE = 40.0  # from the background colour, in RGB, for a pixel to belong to an object
_MIN_AREA = 60  # pixels; a smaller area is a speck
_MIN_CONTRAST = 0.35  # coverage above which a pixel counts towards the area
_MIN_OVERLAP = 0.75  # intersection over union with the best shape; below it the shape is unknown
_OUTLINE_SIZE = 24  # pixels along one side to which outlines are scaled for comparison


def read_picture(picture: np.ndarray) -> Scene:
    """Reads a picture [PICTURE_SIZE, PICTURE_SIZE, 3] uint8.

    Each connected area that differs from the background is an object, with the nearest colour and the shape
    whose outline overlaps most. If no outline overlaps enough, the shape is "unknown".
    """
    pixels = picture.astype(np.float32)
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    background = np.median(border, axis=0)
    distance = np.linalg.norm(pixels - background, axis=2)
    objects = []
    for area in connected_areas(distance > _MIN_DISTANCE):
        # The colour is taken from the inside of the area, since edges are blended with the background.
        inside = area & (distance >= 0.8 * np.percentile(distance[area], 75))
        colour = np.median(pixels[inside], axis=0)
        coverage = np.clip(distance / max(float(np.linalg.norm(colour - background)), 1.0), 0, 1) * area
        box = _bounding_box(coverage)
        if box is None or (coverage > _MIN_CONTRAST).sum() < _MIN_AREA:
            continue
        top, bottom, left, right = box
        size = min(SIZES, key=lambda name: abs(SIZES[name] - max(bottom - top, right - left)))
        objects.append(
            SceneObject(
                _nearest_shape(coverage[top:bottom, left:right]),
                _nearest_colour(colour, COLOURS),
                size,
                round((left + right - CELL_SIZE) / 2),
                round((top + bottom - CELL_SIZE) / 2),
            )
        )
    return Scene(_nearest_colour(background, BACKGROUNDS), reading_order(objects))


def found_share(found: Scene, expected: Scene, tolerance: float = 6.0) -> float:
    """Returns the share of expected objects found with their shape and colour, within `tolerance` pixels."""
    remaining = list(found.objects)
    matches = 0
    for obj in expected.objects:
        for other in remaining:
            near = max(abs(a - b) for a, b in zip(obj.centre, other.centre, strict=True)) <= tolerance
            if near and (obj.shape, obj.colour) == (other.shape, other.colour):
                remaining.remove(other)
                matches += 1
                break
    return matches / len(expected.objects)


def connected_areas(mask: np.ndarray) -> list[np.ndarray]:
    """Returns a mask for each 4-connected area of a mask.

    Raises:
        ImportError: if SciPy cannot be imported.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError(
            f"reading pictures needs the package scipy, got: {error}; install it with pip install scipy"
        ) from error
    labels, count = ndimage.label(mask)
    return [labels == label for label in range(1, count + 1)]


def _nearest_colour(colour: np.ndarray, named: dict[str, tuple[int, int, int]]) -> str:
    return min(named, key=lambda name: float(np.linalg.norm(colour - named[name])))


def _nearest_shape(coverage: np.ndarray) -> str:
    """Returns the shape whose outline overlaps most with a cut-out, or "unknown"."""
    cutout = _scaled(coverage)
    overlaps = {
        name: float(np.minimum(cutout, outline).sum() / np.maximum(cutout, outline).sum())
        for name, outline in _outlines().items()
    }
    best = max(overlaps, key=lambda name: overlaps[name])
    return best if overlaps[best] >= _MIN_OVERLAP else "unknown"


@cache
def _outlines() -> dict[str, np.ndarray]:
    outlines = {}
    for shape in SHAPES:
        mask = shape_mask(shape, SIZES["large"])
        box = _bounding_box(mask)
        assert box is not None
        top, bottom, left, right = box
        outlines[shape] = _scaled(mask[top:bottom, left:right])
    return outlines


def _bounding_box(coverage: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns top, bottom, left and right of the pixels that are more than half covered."""
    covered = coverage > 0.5
    if not covered.any():
        return None
    ys, xs = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    return int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1


def _scaled(coverage: np.ndarray) -> np.ndarray:
    image = Image.fromarray(coverage.astype(np.float32))
    return np.asarray(image.resize((_OUTLINE_SIZE, _OUTLINE_SIZE), Image.Resampling.BILINEAR))
