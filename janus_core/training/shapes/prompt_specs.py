"""What a prompt asks for: the six kinds of GenEval (arXiv:2310.11513), and whole descriptions."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .scene import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_COLOURS,
    HELD_OUT_COUNTS,
    MAX_THINGS,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    place,
    random_scene,
)
from .words import RELATIONS, description, listed, noun, places, related, stands, things_in_words

CATEGORIES = ("single object", "two objects", "counting", "colours", "position", "colour attribution")


@dataclass(frozen=True)
class Part:
    """Some objects of one shape; colour None is any."""

    shape: str
    colour: str | None = None
    count: int = 1


@dataclass(frozen=True)
class PromptSpec:
    """What a picture is to show.

    Attributes:
        category: one of `CATEGORIES`.
        parts: the objects, one part or two of different shapes.
        relation: how the first stands to the second; None where it does not matter.
    """

    category: str
    parts: tuple[Part, ...]
    relation: str | None = None

    @property
    def held_out(self) -> bool:
        """Whether it names what training leaves out."""
        return any(
            HELD_OUT_COLOURS[part.shape] == part.colour or HELD_OUT_COUNTS[part.shape] == part.count
            for part in self.parts
        )

    @property
    def phrase(self) -> str:
        """The wish in words, without a frame around them."""
        nouns = [noun(part.shape, part.colour, part.count) for part in self.parts]
        return f"{nouns[0]} {self.relation} {nouns[1]}" if self.relation else listed(nouns)

    def fulfilled(self, scene: Scene) -> bool:
        """Whether a picture shows it, by GenEval's rules: counts are exact only where counting is asked."""
        if self.category == "counting":
            part = self.parts[0]
            return scene.count(part.shape, part.colour) == scene.count(part.shape) == part.count
        if self.relation:
            first, second = self.parts
            return any(
                _fits(first, one) and _fits(second, other) and stands(one, self.relation, other)
                for one in scene.things
                for other in scene.things
            )
        return all(scene.count(part.shape, part.colour) >= part.count for part in self.parts)

    def scene(self, rng: random.Random) -> Scene:
        """A scene that shows it and nothing else; what the wish leaves open goes by lot.

        Where no relation says otherwise, what is named first is drawn first, as in all descriptions: with
        both orders alike, which colour is whose is known only once the first object is there, and a body
        learns to guess it.
        """
        background = rng.choice(list(BACKGROUNDS))
        while True:
            things = [thing for part in self.parts for thing in _things(part, rng)]
            scene = place(things, background, rng, in_order=self.relation is None)
            if self.relation is None or self._clearly(scene):
                return scene

    def _clearly(self, scene: Scene) -> bool:
        """Whether the relation is the one that anyone would name."""
        first, second = (next(t for t in scene.things if t.shape == part.shape) for part in self.parts)
        return related(first, second) == self.relation


def random_wish(category: str, rng: random.Random, held_out: bool = False) -> PromptSpec:
    """A wish of a category by lot.

    Args:
        category: one of `CATEGORIES`.
        rng: decides everything.
        held_out: whether it is to name what training leaves out; only counting, colours and colour
            attribution can.
    """
    while True:
        wish = PromptSpec(category, *_parts(category, rng))
        if wish.held_out == held_out:
            return wish


def random_caption(rng: random.Random) -> tuple[Scene, str]:
    """A scene and a caption for training: a wish of any category, or all that is to be seen."""
    if rng.random() < 0.4:
        scene = random_scene(rng)
        told = rng.choice((description, things_in_words, places, places))
        return scene, framed(told(scene), rng)
    while True:
        wish = random_wish(rng.choices(CATEGORIES, (1, 2, 4, 1, 4, 8))[0], rng)
        if wish.relation and rng.random() < 0.5:
            wish = replace(wish, parts=tuple(_coloured(part, rng) for part in wish.parts))
        scene = wish.scene(rng)
        if not scene.held_out:
            break
    ground = f" on a {scene.background} background" if rng.random() < 0.3 else ""
    return scene, framed(wish.phrase + ground, rng)


_FRAMES = (
    "{}",
    "{}",
    "{}.",
    "a picture of {}",
    "a photo of {}",
    "an image of {}",
    "a drawing of {}",
    "draw {}",
    "there is {}",
    "I would like to see {}.",
)
_SPELLINGS = ((" on a ", " on "), ("grey", "gray"), (" left of ", " to the left of "),
              (" right of ", " to the right of "), (" above ", " over "), (" below ", " under "))  # fmt: skip


def framed(phrase: str, rng: random.Random) -> str:
    """A paraphrase: other words around and inside, with and without a capital letter."""
    for usual, other in _SPELLINGS:
        if rng.random() < 0.2:
            phrase = phrase.replace(usual, other)
    text = rng.choice(_FRAMES).format(phrase)
    return text[0].upper() + text[1:] if rng.random() < 0.5 else text


def _parts(category: str, rng: random.Random) -> tuple[tuple[Part, ...], str | None]:
    first, second = rng.sample(SHAPES, 2)
    colours = rng.choices(list(COLOURS), k=2)
    if category == "single object":
        return (Part(first),), None
    if category == "colours":
        return (Part(first, colours[0]),), None
    if category == "counting":
        colour = colours[0] if rng.random() < 0.5 else None
        return (Part(first, colour, rng.randint(2, MAX_THINGS)),), None
    if category == "two objects":
        return (Part(first), Part(second)), None
    if category == "colour attribution":
        return (Part(first, colours[0]), Part(second, colours[1])), None
    return (Part(first), Part(second)), rng.choice(RELATIONS)


def _coloured(part: Part, rng: random.Random) -> Part:
    return replace(part, colour=rng.choice([c for c in COLOURS if c != HELD_OUT_COLOURS[part.shape]]))


def _things(part: Part, rng: random.Random) -> list[Thing]:
    shared = part.colour or (rng.choice(list(COLOURS)) if rng.random() < 0.5 else None)
    return [
        Thing(part.shape, shared or rng.choice(list(COLOURS)), rng.choice(list(SIZES)))
        for _ in range(part.count)
    ]


def _fits(part: Part, thing: Thing) -> bool:
    return part.shape == thing.shape and part.colour in (None, thing.colour)
