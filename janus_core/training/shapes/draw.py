"""Draws a scene as a picture."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from .scene import BACKGROUNDS, CELL_SIZE, COLOURS, PICTURE_SIZE, SIZES, Scene

_SUPERSAMPLING = 8  # outlines are drawn at this scale, then averaged, for anti-aliasing


def draw_scene(scene: Scene) -> np.ndarray:
    """Returns the picture [PICTURE_SIZE, PICTURE_SIZE, 3] uint8."""
    picture = np.empty((PICTURE_SIZE, PICTURE_SIZE, 3), np.float32)
    picture[:] = BACKGROUNDS[scene.background]
    for obj in scene.objects:
        cell = picture[obj.top : obj.top + CELL_SIZE, obj.left : obj.left + CELL_SIZE]
        cell += shape_mask(obj.shape, SIZES[obj.size])[..., None] * (COLOURS[obj.colour] - cell)
    return picture.round().astype(np.uint8)


@cache
def shape_mask(shape: str, size: int) -> np.ndarray:
    """Returns the coverage of each pixel of a cell by a shape, [CELL_SIZE, CELL_SIZE] in [0, 1]."""
    big, radius = CELL_SIZE * _SUPERSAMPLING, size * _SUPERSAMPLING / 2
    image = Image.new("L", (big, big))
    pen = ImageDraw.Draw(image)
    middle = big / 2
    square = (middle - radius, middle - radius, middle + radius, middle + radius)
    if shape in ("circle", "ring"):
        pen.ellipse(square, fill=255)
        if shape == "ring":
            hole = radius * 0.5
            pen.ellipse((middle - hole, middle - hole, middle + hole, middle + hole), fill=0)
    elif shape == "square":
        pen.rectangle(square, fill=255)
    elif shape == "cross":
        arm = radius * 0.34
        pen.rectangle((middle - arm, square[1], middle + arm, square[3]), fill=255)
        pen.rectangle((square[0], middle - arm, square[2], middle + arm), fill=255)
    elif shape == "triangle":
        pen.polygon([(middle, square[1]), (square[2], square[3]), (square[0], square[3])], fill=255)
    else:
        pen.polygon([_star_point(index, middle, radius) for index in range(10)], fill=255)
    small = image.resize((CELL_SIZE, CELL_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def _star_point(index: int, middle: float, radius: float) -> tuple[float, float]:
    """Returns a corner of a five-pointed star; even corners are tips, odd ones are notches."""
    angle = math.pi * index / 5
    length = radius * (1.0 if index % 2 == 0 else 0.42)
    return middle + length * math.sin(angle), middle - length * math.cos(angle)
