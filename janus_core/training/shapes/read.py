"""A picture back to its scene: the judge of what a model draws."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

from .draw import shape_mask
from .scene import BACKGROUNDS, BOX, COLOURS, SHAPES, SIZES, Scene, Thing, reading_order

_MIN_AREA = 60  # pixels; less is a speck
_MIN_CONTRAST = 0.35  # of the way from the background to the object's colour
_MIN_OVERLAP = 0.75  # intersection over union with the nearest shape; less is none
_PROBE = 24  # pixels along one side in which outlines are compared


def read_picture(picture: np.ndarray) -> Scene:
    """Reads a picture [SIDE, SIDE, 3] uint8.

    Objects are the connected areas that differ from the background; each is named by the nearest colour and
    the outline that overlaps most. One whose outline is like none has the shape "unknown".
    """
    pixels = picture.astype(np.float32)
    border = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    ground = np.median(border, axis=0)
    distance = np.linalg.norm(pixels - ground, axis=2)
    background = _nearest(ground, BACKGROUNDS)
    things = []
    for area in _areas(distance > 40.0):
        inside = area & (distance >= 0.8 * np.percentile(distance[area], 75))
        colour = np.median(pixels[inside], axis=0)
        cover = np.clip(distance / max(float(np.linalg.norm(colour - ground)), 1.0), 0, 1) * area
        if (cover > _MIN_CONTRAST).sum() < _MIN_AREA:
            continue
        rows, columns = (np.flatnonzero((cover > 0.5).any(axis=axis)) for axis in (1, 0))
        if len(rows) == 0:
            continue
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        shape = _shape(cover[top:bottom, left:right])
        size = min(SIZES, key=lambda name: abs(SIZES[name] - max(bottom - top, right - left)))
        things.append(
            Thing(
                shape,
                _nearest(colour, COLOURS),
                size,
                round((left + right - BOX) / 2),
                round((top + bottom - BOX) / 2),
            )
        )
    return Scene(background, reading_order(things))


def _nearest(colour: np.ndarray, named: dict[str, tuple[int, int, int]]) -> str:
    return min(named, key=lambda name: float(np.linalg.norm(colour - named[name])))


def _areas(mask: np.ndarray) -> list[np.ndarray]:
    """Masks of the connected areas, neighbours being above, below, left and right."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = labels.copy()
        spread[1:] = np.maximum(spread[1:], labels[:-1])
        spread[:-1] = np.maximum(spread[:-1], labels[1:])
        spread[:, 1:] = np.maximum(spread[:, 1:], labels[:, :-1])
        spread[:, :-1] = np.maximum(spread[:, :-1], labels[:, 1:])
        spread = np.where(mask, spread, 0)
        if np.array_equal(spread, labels):
            return [labels == label for label in np.unique(labels) if label]
        labels = spread


def _shape(cover: np.ndarray) -> str:
    """Name of the outline that overlaps most with a cut-out."""
    probe = _stretched(cover)
    overlaps = {
        name: float(np.minimum(probe, outline).sum() / np.maximum(probe, outline).sum())
        for name, outline in _outlines().items()
    }
    best = max(overlaps, key=lambda name: overlaps[name])
    return best if overlaps[best] >= _MIN_OVERLAP else "unknown"


@cache
def _outlines() -> dict[str, np.ndarray]:
    outlines = {}
    for shape in SHAPES:
        mask = shape_mask(shape, SIZES["large"])
        rows, columns = (np.flatnonzero((mask > 0.5).any(axis=axis)) for axis in (1, 0))
        outlines[shape] = _stretched(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    return outlines


def _stretched(cover: np.ndarray) -> np.ndarray:
    image = Image.fromarray(cover.astype(np.float32))
    return np.asarray(image.resize((_PROBE, _PROBE), Image.Resampling.BILINEAR))


def same_things(drawn: Scene, wanted: Scene, tolerance: float = 6.0) -> float:
    """Share of the wanted objects that stand in a picture with their shape, colour and place.

    Args:
        drawn: what was read.
        wanted: the truth.
        tolerance: pixels by which a centre may be off.
    """
    left = list(drawn.things)
    found = 0
    for thing in wanted.things:
        for other in left:
            near = max(abs(a - b) for a, b in zip(thing.centre, other.centre, strict=True)) <= tolerance
            if near and (thing.shape, thing.colour) == (other.shape, other.colour):
                left.remove(other)
                found += 1
                break
    return found / len(wanted.things)
