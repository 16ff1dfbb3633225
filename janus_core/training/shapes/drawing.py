"""Draws scenes as pictures, and reads pictures back into scenes to judge what a model has drawn."""

from __future__ import annotations

import math
import random
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from .scene import BACKGROUNDS, CELL_SIZE, COLOURS, PICTURE_SIZE, SHAPES, SIZES, Scene, SceneObject

PATCH_SIZE = 16  # pixels along one side of what an image token and a feature of the vision tower stand for

_SUPERSAMPLING = 8  # outlines are drawn at this scale, then averaged, for anti-aliasing
_MIN_DISTANCE = 40.0  # from the background colour, in RGB, for a pixel to belong to an object
_MIN_AREA = 60  # pixels; a smaller area is a speck
_MIN_CONTRAST = 0.35  # coverage above which a pixel counts towards the area
_MIN_OVERLAP = 0.75  # intersection over union with the best shape; below it the shape is unknown
_OUTLINE_SIZE = 24  # pixels along one side to which outlines are scaled for comparison


def draw_scene(scene: Scene) -> np.ndarray:
    """Returns the picture [PICTURE_SIZE, PICTURE_SIZE, 3] uint8."""
    picture = np.full((PICTURE_SIZE, PICTURE_SIZE, 3), BACKGROUNDS[scene.background], np.float32)
    for obj in scene.objects:
        cell = picture[obj.top : obj.top + CELL_SIZE, obj.left : obj.left + CELL_SIZE]
        cell += shape_mask(obj.shape, SIZES[obj.size])[..., None] * (COLOURS[obj.colour] - cell)
    return picture.round().astype(np.uint8)


def shuffle_patches(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    """Returns a picture with its patches in a random order: [PICTURE_SIZE, PICTURE_SIZE, 3] uint8."""
    per_side = PICTURE_SIZE // PATCH_SIZE
    patches = (
        picture.reshape(per_side, PATCH_SIZE, per_side, PATCH_SIZE, 3)
        .swapaxes(1, 2)
        .reshape(-1, PATCH_SIZE, PATCH_SIZE, 3)
    )
    patches = patches[rng.sample(range(len(patches)), len(patches))]
    rows = patches.reshape(per_side, per_side, PATCH_SIZE, PATCH_SIZE, 3).swapaxes(1, 2)
    return rows.reshape(PICTURE_SIZE, PICTURE_SIZE, 3)


@cache
def shape_mask(shape: str, size: int) -> np.ndarray:
    """Returns the coverage of each pixel of a cell by a shape, [CELL_SIZE, CELL_SIZE] in [0, 1]."""
    middle, radius = CELL_SIZE * _SUPERSAMPLING / 2, size * _SUPERSAMPLING / 2
    image = Image.new("L", (CELL_SIZE * _SUPERSAMPLING, CELL_SIZE * _SUPERSAMPLING))
    pen = ImageDraw.Draw(image)
    low, high = middle - radius, middle + radius
    if shape in ("circle", "ring"):
        pen.ellipse((low, low, high, high), fill=255)
        if shape == "ring":
            hole = radius * 0.5
            pen.ellipse((middle - hole, middle - hole, middle + hole, middle + hole), fill=0)
    elif shape == "square":
        pen.rectangle((low, low, high, high), fill=255)
    elif shape == "cross":
        arm = radius * 0.34
        pen.rectangle((middle - arm, low, middle + arm, high), fill=255)
        pen.rectangle((low, middle - arm, high, middle + arm), fill=255)
    elif shape == "triangle":
        pen.polygon([(middle, low), (high, high), (low, high)], fill=255)
    else:  # the five tips of a star, each followed by a notch
        corners = [(math.pi * i / 5, radius * (0.42 if i % 2 else 1.0)) for i in range(10)]
        pen.polygon([(middle + r * math.sin(a), middle - r * math.cos(a)) for a, r in corners], fill=255)
    small = image.resize((CELL_SIZE, CELL_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


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
        left, top, right, bottom = box
        cell = round((left + right - CELL_SIZE) / 2), round((top + bottom - CELL_SIZE) / 2)
        shape = _nearest_shape(_outline(coverage, box))
        size = _nearest_size(shape, max(bottom - top, right - left))
        objects.append(SceneObject(shape, _nearest_colour(colour, COLOURS), size, *cell))
    return Scene(_nearest_colour(background, BACKGROUNDS), tuple(objects))


def found_share(found: Scene, expected: Scene) -> float:
    """Returns the share of expected objects found with their shape and colour, within 6 pixels."""
    remaining = list(found.objects)
    for obj in expected.objects:
        for other in remaining:
            near = max(abs(obj.left - other.left), abs(obj.top - other.top)) <= 6
            if near and (obj.shape, obj.colour) == (other.shape, other.colour):
                remaining.remove(other)
                break
    return (len(found.objects) - len(remaining)) / len(expected.objects)


def connected_areas(mask: np.ndarray) -> list[np.ndarray]:
    """Returns a mask for each 4-connected area of a mask."""
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


def _nearest_shape(outline: np.ndarray) -> str:
    """Returns the shape whose outline overlaps most, or "unknown"."""
    overlaps = {
        shape: float(np.minimum(outline, known).sum() / np.maximum(outline, known).sum())
        for shape, known in _outlines().items()
    }
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return best if overlaps[best] >= _MIN_OVERLAP else "unknown"


def _nearest_size(shape: str, extent: int) -> str:
    """Returns the size at which a shape's longer side is closest to this many pixels."""
    extents = _extents().get(shape, SIZES)
    return min(extents, key=lambda size: abs(extents[size] - extent))


@cache
def _extents() -> dict[str, dict[str, int]]:
    """The longer side of each shape in pixels, by size; stars are smaller than their circle."""
    boxes = {
        (shape, size): _bounding_box(shape_mask(shape, SIZES[size])) for shape in SHAPES for size in SIZES
    }
    extents: dict[str, dict[str, int]] = {shape: {} for shape in SHAPES}
    for (shape, size), box in boxes.items():
        assert box is not None
        left, top, right, bottom = box
        extents[shape][size] = max(right - left, bottom - top)
    return extents


@cache
def _outlines() -> dict[str, np.ndarray]:
    masks = {shape: shape_mask(shape, SIZES["large"]) for shape in SHAPES}
    return {shape: _outline(mask, _bounding_box(mask)) for shape, mask in masks.items()}


def _bounding_box(coverage: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns left, top, right and bottom of the pixels that are more than half covered."""
    return Image.fromarray((coverage > 0.5).astype(np.uint8)).getbbox()


def _outline(coverage: np.ndarray, box: tuple[int, int, int, int] | None) -> np.ndarray:
    """Cuts out a box and scales it for comparison."""
    cutout = Image.fromarray(coverage.astype(np.float32)).crop(box)
    return np.asarray(cutout.resize((_OUTLINE_SIZE, _OUTLINE_SIZE), Image.Resampling.BILINEAR))
