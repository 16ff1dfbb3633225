"""What a picture of the world holds, and how scenes are drawn by lot."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

SIDE = 96  # pixels along one side of a picture
BOX = 32  # pixels along one side of the place that an object has for itself: there are three by three

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

MAX_THINGS = 4

# Left out of every scene that has words, to tell composition from memory: one colour and one number per
# shape. A question may name what is left out; then there is none of it.
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
class Thing:
    """One object.

    Attributes:
        shape: one of `SHAPES`.
        colour: one of `COLOURS`.
        size: one of `SIZES`.
        left: pixels from the picture's left edge to its box.
        top: pixels from the picture's upper edge to its box.
    """

    shape: str
    colour: str
    size: str = "large"
    left: int = 0
    top: int = 0

    @property
    def centre(self) -> tuple[float, float]:
        """Pixels from the left and from the top."""
        return self.left + BOX / 2, self.top + BOX / 2


@dataclass(frozen=True)
class Scene:
    """A background and one to four objects, in reading order, that do not touch."""

    background: str
    things: tuple[Thing, ...]

    def count(self, shape: str | None = None, colour: str | None = None) -> int:
        """Objects of a shape and a colour; None for any."""
        return sum(shape in (None, t.shape) and colour in (None, t.colour) for t in self.things)

    @property
    def held_out(self) -> bool:
        """Whether it holds what training leaves out."""
        pairs = any(HELD_OUT_COLOURS[thing.shape] == thing.colour for thing in self.things)
        return pairs or any(self.count(shape) == count for shape, count in HELD_OUT_COUNTS.items())


def place(things: Sequence[Thing], background: str, rng: random.Random, in_order: bool = False) -> Scene:
    """Puts objects where nothing touches, by lot; they come back in the order of reading.

    Args:
        things: the objects.
        background: one of `BACKGROUNDS`.
        rng: decides everything.
        in_order: whether that is to be the order in which they are given.
    """
    spots = free_places(())
    chosen = rng.sample(range(len(spots)), len(things))
    if in_order:
        chosen.sort()
    placed = [
        replace(thing, left=spots[index][0], top=spots[index][1])
        for thing, index in zip(things, chosen, strict=True)
    ]
    return Scene(background, reading_order(placed))


def free_places(things: Sequence[Thing]) -> list[tuple[int, int]]:
    """Left and upper edges of all places that no object has, in the order of reading."""
    steps = range(0, SIDE - BOX + 1, BOX)
    taken = {(thing.left, thing.top) for thing in things}
    return [(left, top) for top in steps for left in steps if (left, top) not in taken]


def reading_order(things: Sequence[Thing]) -> tuple[Thing, ...]:
    """The same objects from top to bottom, in a row from left to right."""
    return tuple(sorted(things, key=lambda thing: (thing.top, thing.left)))


def unlike_things(count: int, rng: random.Random) -> list[Thing]:
    """Objects of which no two have the same shape or the same colour."""
    shapes, colours = rng.sample(SHAPES, count), rng.sample(list(COLOURS), count)
    return _sized(shapes, colours, rng)


def random_things(count: int, rng: random.Random) -> list[Thing]:
    """Any objects: of one shape at times, since counting needs these, and often unlike in all.

    Where objects differ in shape and colour, and there are several, only what belongs together answers a
    question or draws a caption; among few or equal ones, guessing goes a long way.
    """
    likeness = rng.random()
    if likeness < 0.5:
        return unlike_things(count, rng)
    same = likeness < 0.8
    shape = rng.choice(SHAPES)
    colour = rng.choice(list(COLOURS)) if same and rng.random() < 0.5 else None
    shapes = [shape if same else rng.choice(SHAPES) for _ in range(count)]
    colours = [colour or rng.choice(list(COLOURS)) for _ in range(count)]
    return _sized(shapes, colours, rng)


def _sized(shapes: Sequence[str], colours: Sequence[str], rng: random.Random) -> list[Thing]:
    pairs = zip(shapes, colours, strict=True)
    return [Thing(shape, colour, rng.choice(list(SIZES))) for shape, colour in pairs]


def random_scene(rng: random.Random, held_out: bool | None = False) -> Scene:
    """A scene of one to four objects by lot.

    Args:
        rng: decides everything.
        held_out: whether the scene is to be one that training leaves out; None for either.
    """
    while True:
        count = rng.choice((1, 2, 3, 3, 4, 4))
        scene = place(random_things(count, rng), rng.choice(list(BACKGROUNDS)), rng)
        if held_out is None or scene.held_out == held_out:
            return scene
