"""Scenes: the objects and background of a picture, and random generation of scenes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

PICTURE_SIZE = 96  # pixels along one side of a picture
CELL_SIZE = 32  # pixels along one side of a grid cell; the grid has 3 x 3 cells, each for one object

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (220, 40, 40),
    "orange": (250, 140, 20),
    "yellow": (250, 225, 50),
    "green": (40, 170, 70),
    "cyan": (60, 205, 220),
    "blue": (45, 85, 225),
    "purple": (135, 50, 180),
    "pink": (250, 150, 200),
}
BACKGROUNDS = {"white": (250, 250, 250), "grey": (128, 128, 128), "black": (10, 10, 10)}
SIZES = {"small": 22, "large": 28}  # pixels across

MAX_OBJECTS = 4

# Held out of all scenes that come with text, to measure composition rather than memory: one colour and one
# count per shape. A question may still name a held-out combination; then the answer is that there is none.
HELD_OUT_COLOURS = {
    "circle": "purple",
    "square": "cyan",
    "triangle": "yellow",
    "star": "blue",
    "cross": "pink",
    "ring": "orange",
}
HELD_OUT_COUNTS = {"circle": 3, "square": 4, "triangle": 2, "star": 3, "cross": 4, "ring": 2}


@dataclass(frozen=True)
class SceneObject:
    """One object, in the cell whose top left corner is at pixel (left, top) of the picture."""

    shape: str
    colour: str
    size: str = "large"
    left: int = 0
    top: int = 0


@dataclass(frozen=True)
class Scene:
    """A background and objects that do not touch, in reading order: top to bottom, then left to right."""

    background: str
    objects: tuple[SceneObject, ...]

    def __post_init__(self) -> None:
        in_order = sorted(self.objects, key=lambda obj: (obj.top, obj.left))
        object.__setattr__(self, "objects", tuple(in_order))  # the only way in a frozen dataclass

    def count(self, shape: str | None = None, colour: str | None = None) -> int:
        """Number of objects with this shape and colour; None matches any."""
        return sum(shape in (None, obj.shape) and colour in (None, obj.colour) for obj in self.objects)

    @property
    def held_out(self) -> bool:
        """Whether the scene contains a colour or count that is held out of training."""
        has_colour = any(HELD_OUT_COLOURS[obj.shape] == obj.colour for obj in self.objects)
        return has_colour or any(self.count(shape) == count for shape, count in HELD_OUT_COUNTS.items())


def random_scene(rng: random.Random, held_out: bool | None = False) -> Scene:
    """Returns a random scene of one to four objects, held out or not; None for either."""
    while True:
        count = rng.choice((1, 2, 3, 3, 4, 4))
        scene = arrange(random_objects(count, rng), rng)
        if held_out is None or scene.held_out == held_out:
            return scene


def varied_scene(rng: random.Random) -> Scene:
    """Returns a scene of three or four objects, different in shape and colour, with nothing held out."""
    while True:
        scene = arrange(distinct_objects(rng.choice((3, 4)), rng), rng)
        if not scene.held_out:
            return scene


def crowded_scene(rng: random.Random) -> Scene:
    """Returns a scene of four to six objects, held out or not."""
    objects = [random_object(rng) for _ in range(rng.choice((4, 5, 6)))]
    return arrange(objects, rng)


def scene_without_words(rng: random.Random) -> Scene:
    """Returns a scene of three or four objects, half of them in the colour held out for their shape."""
    pairs = [(shape, HELD_OUT_COLOURS[shape] if rng.random() < 0.5 else None) for shape in SHAPES]
    chosen = rng.choices(pairs, k=rng.choice((3, MAX_OBJECTS)))
    return arrange([random_object(rng, *pair) for pair in chosen], rng)


def random_objects(count: int, rng: random.Random) -> list[SceneObject]:
    """Returns random objects: half of the time all different, else often of one shape, for counting.

    Several objects that differ in shape and colour force a model to bind the right colour to the right shape.
    With few or equal objects, guessing is too often right.
    """
    kind = rng.random()
    if kind < 0.5:
        return distinct_objects(count, rng)
    same_shape = kind < 0.8
    shape = rng.choice(SHAPES)
    colour = rng.choice(list(COLOURS)) if same_shape and rng.random() < 0.5 else None
    shapes = [shape if same_shape else rng.choice(SHAPES) for _ in range(count)]
    colours = [colour or rng.choice(list(COLOURS)) for _ in range(count)]
    return [random_object(rng, *pair) for pair in zip(shapes, colours, strict=True)]


def random_object(rng: random.Random, shape: str | None = None, colour: str | None = None) -> SceneObject:
    """Returns an object of this shape and colour; None for a random one."""
    shape = shape or rng.choice(SHAPES)
    return SceneObject(shape, colour or rng.choice(list(COLOURS)), rng.choice(list(SIZES)))


def distinct_objects(count: int, rng: random.Random) -> list[SceneObject]:
    """Returns objects that all differ in shape and in colour."""
    kinds = zip(rng.sample(SHAPES, count), rng.sample(list(COLOURS), count), strict=True)
    return [random_object(rng, shape, colour) for shape, colour in kinds]


def arrange(
    objects: Sequence[SceneObject],
    rng: random.Random,
    background: str | None = None,
    keep_order: bool = False,
) -> Scene:
    """Places objects in random cells, on a random background unless one is given.

    With `keep_order`, the order of the objects becomes the reading order of the scene.
    """
    background = background or rng.choice(list(BACKGROUNDS))
    cells = rng.sample(free_cells(()), len(objects))
    if keep_order:
        cells.sort(key=lambda cell: (cell[1], cell[0]))
    placed = [replace(obj, left=left, top=top) for obj, (left, top) in zip(objects, cells, strict=True)]
    return Scene(background, tuple(placed))


def free_cells(objects: Sequence[SceneObject]) -> list[tuple[int, int]]:
    """Returns (left, top) of all grid cells without an object, in reading order."""
    steps = range(0, PICTURE_SIZE - CELL_SIZE + 1, CELL_SIZE)
    taken = {(obj.left, obj.top) for obj in objects}
    return [(left, top) for top in steps for left in steps if (left, top) not in taken]


def random_quarter(left: int, top: int, rng: random.Random) -> tuple[float, float, float, float]:
    """Returns a random quarter of the cell at (left, top), as edges in fractions of the picture's size."""
    half = CELL_SIZE // 2
    left, top = left + rng.choice((0, half)), top + rng.choice((0, half))
    right, bottom = left + half, top + half
    return left / PICTURE_SIZE, top / PICTURE_SIZE, right / PICTURE_SIZE, bottom / PICTURE_SIZE
