"""A scene to its picture."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from .scene import BACKGROUNDS, BOX, COLOURS, SIDE, SIZES, Scene

_FINER = 8  # outlines are drawn this many times larger, then averaged: anti-aliasing


def draw_scene(scene: Scene) -> np.ndarray:
    """The picture [SIDE, SIDE, 3] uint8."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = BACKGROUNDS[scene.background]
    for thing in scene.things:
        area = picture[thing.top : thing.top + BOX, thing.left : thing.left + BOX]
        area += shape_mask(thing.shape, SIZES[thing.size])[..., None] * (COLOURS[thing.colour] - area)
    return picture.round().astype(np.uint8)


@cache
def shape_mask(shape: str, size: int) -> np.ndarray:
    """How much of each pixel of its box [BOX, BOX] a shape covers, from 0 to 1."""
    big, radius = BOX * _FINER, size * _FINER / 2
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
        pen.polygon([_star_point(i, middle, radius) for i in range(10)], fill=255)
    small = image.resize((BOX, BOX), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def _star_point(index: int, middle: float, radius: float) -> tuple[float, float]:
    """Corners of a five-pointed star, tips and dents in turn."""
    angle = math.pi * index / 5
    length = radius * (1.0 if index % 2 == 0 else 0.42)
    return middle + length * math.sin(angle), middle - length * math.cos(angle)
