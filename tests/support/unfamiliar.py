"""Pictures of the demonstration checkpoint's world as users have them, and pictures that are not of it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import skimage.data
from janus_nodes.janus_core.training.shapes.drawing import draw_scene
from janus_nodes.janus_core.training.shapes.prompt_specs import random_caption
from janus_nodes.janus_core.training.shapes.scene import (
    BACKGROUNDS,
    Scene,
    crowded_scene,
    random_scene,
    varied_scene,
)
from PIL import Image, ImageDraw

Picture = np.ndarray  # [H, W, 3] uint8

PHOTOGRAPHS = (
    *("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket", "text"),
)

_SCENES: tuple[Callable[[random.Random], Scene], ...] = (
    partial(random_scene, held_out=None),
    crowded_scene,
    varied_scene,
    lambda rng: random_caption(rng)[0],
)


def known_pictures(count: int, seed: str) -> dict[str, list[Picture]]:
    """At least `count` pictures of each kind of scene, and `count` of each form in which users have them."""
    rng = random.Random(seed)
    scenes = [draw_scene(kind(rng)) for kind in _SCENES for _ in range(count)]
    changes: dict[str, Callable[[Picture], Picture]] = {
        "JPEG 95": partial(_as_jpeg, quality=95),
        "JPEG 75": partial(_as_jpeg, quality=75),
        "JPEG 50": partial(_as_jpeg, quality=50),
        "384 pixels": partial(_resized, side=384, resampling=Image.Resampling.BICUBIC),
        "512 pixels": partial(_resized, side=512, resampling=Image.Resampling.NEAREST),
        "64 pixels": partial(_resized, side=64, resampling=Image.Resampling.BICUBIC),
        "48 pixels": partial(_resized, side=48, resampling=Image.Resampling.LANCZOS),
        "mirrored": lambda picture: picture[:, ::-1],
        "two rows": lambda picture: picture[:64],  # letterboxed by the model
    }
    pictures = {
        name: [change(each) for each in rng.sample(scenes, count)] for name, change in changes.items()
    }
    empty = [np.full((96, 96, 3), colour, np.uint8) for colour in BACKGROUNDS.values()]
    return {"scenes": scenes, "empty": empty, **pictures}


def photographs(per_photograph: int, seed: str) -> list[Picture]:
    """Each photograph of scikit-image, and parts of it at many scales, some mirrored, grey or shrunk."""
    rng, pictures = random.Random(seed), []
    for name in PHOTOGRAPHS:
        whole = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        pictures.append(np.asarray(whole))
        while len(pictures) % (per_photograph + 1):
            side = max(24, int(min(whole.size) * rng.choice((0.15, 0.25, 0.4, 0.6, 0.9))))
            left, top = rng.randint(0, whole.width - side), rng.randint(0, whole.height - side)
            part = whole.crop((left, top, left + side, top + side))
            change = rng.choice(("none", "mirrored", "grey", "shrunk"))
            if change == "mirrored":
                part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            elif change == "grey":
                part = part.convert("L").convert("RGB")
            elif change == "shrunk":
                part = part.resize((96, 96))
            if np.asarray(part).std() > 4:  # else it may show a plain background, as pictures of the world do
                pictures.append(np.asarray(part))
    return pictures


def rendered(count: int, seed: str) -> dict[str, list[Picture]]:
    """`count` pictures of each kind that programs make."""
    rng = np.random.default_rng([*seed.encode()])
    kinds = (_flat, _gradient, _noise, _clouds, _text, _sphere, _bar_chart, _line_drawing)
    return {kind.__name__.strip("_"): [kind(rng) for _ in range(count)] for kind in kinds}


def _as_jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def _resized(picture: Picture, side: int, resampling: Image.Resampling) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((side, side), resampling))


def _flat(rng: np.random.Generator) -> Picture:
    """A single colour, far from the backgrounds of the world."""
    colour = rng.integers(0, 256, 3)
    while min(np.abs(colour - known).max() for known in BACKGROUNDS.values()) < 40:
        colour = rng.integers(0, 256, 3)
    return np.full((96, 96, 3), colour, np.uint8)


def _gradient(rng: np.random.Generator) -> Picture:
    start, end = rng.integers(0, 256, (2, 3))
    rows, columns = np.mgrid[0:1:128j, 0:1:128j]
    share = rng.random()
    along = share * rows + (1 - share) * columns
    return (start + (end - start) * along[..., None]).astype(np.uint8)


def _noise(rng: np.random.Generator) -> Picture:
    return rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)


def _clouds(rng: np.random.Generator) -> Picture:
    coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return _resized(coarse, 192, Image.Resampling.BICUBIC)


def _text(rng: np.random.Generator) -> Picture:
    paper = int(rng.choice((20, 250)))
    image = Image.new("RGB", (320, 240), (paper,) * 3)
    for top in range(6, 240, 14):
        words = " ".join(rng.choice(["the", "picture", "shows", "2024", "janus", "of"], 12))
        ImageDraw.Draw(image).text((8, top), words, (255 - paper,) * 3)
    return np.asarray(image)


def _sphere(rng: np.random.Generator) -> Picture:
    """A shaded ball, as a renderer draws it."""
    rows, columns = np.mgrid[0:1:160j, 0:1:160j]
    centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.35)
    across, down = (columns - centre[0]) / radius, (rows - centre[1]) / radius
    height = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))
    light = np.clip(0.6 * height - 0.5 * across - 0.5 * down, 0, 1)[..., None] * 0.9 + 0.1
    ball, floor = rng.integers(80, 256, 3), rng.integers(0, 256, 3)
    return np.where(height[..., None] > 0, light * ball, floor).astype(np.uint8)


def _bar_chart(rng: np.random.Generator) -> Picture:
    image = Image.new("RGB", (320, 240), "white")
    pen = ImageDraw.Draw(image)
    pen.line((30, 10, 30, 220, 310, 220), fill=0, width=2)
    for bar in range(6):
        left = 45 + bar * 42
        pen.rectangle((left, 220 - int(rng.integers(20, 190)), left + 30, 219), fill=(31, 119, 180))
    return np.asarray(image)


def _line_drawing(rng: np.random.Generator) -> Picture:
    image = Image.new("RGB", (256, 256), "white")
    for _ in range(int(rng.integers(6, 20))):
        ImageDraw.Draw(image).line([*map(int, rng.integers(0, 256, 4))], fill=0, width=2)
    return np.asarray(image)
