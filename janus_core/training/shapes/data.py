"""The world as training data: pictures, captions, conversations."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import numpy as np

from ..samples import Region, Sample
from .draw import draw_scene
from .prompt_specs import random_caption
from .questions import Question, random_question
from .requests import random_request
from .scene import (
    BACKGROUNDS,
    BOX,
    COLOURS,
    SHAPES,
    SIDE,
    SIZES,
    Scene,
    Thing,
    free_places,
    place,
    random_scene,
    unlike_things,
)
from .words import description, phrases, plural

VERSION = "7"

# Turns of a conversation about one picture.
TURNS = 6
LOOKING, _LOOKED_UP = "looking", ("where", "colour", "shape")
_TELLS_ALL = {"describe": 3, "places": 1, "tags": 1}  # and how often each is asked
_NAMES = {plural(shape): shape for shape in SHAPES} | {
    name: name for name in (*SHAPES, *COLOURS, "top", "bottom", "left", "right", "centre")
}


class WorldData:
    """Samples without end; everything is decided by the random generator that is passed in."""

    version = f"world-{VERSION}"
    prompts: tuple[str, ...] = (
        "a red star",
        "three green triangles",
        "a blue circle left of a yellow cross",
        "two pink squares on a black background",
        "a purple ring and an orange square",
        "a cyan triangle above a red circle",
        "four yellow circles on a grey background",
        "a green cross, a pink ring and a blue square on a white background",
    )

    def picture(self, rng: random.Random) -> np.ndarray:
        """A picture for the image tokenizer [S, S, 3] uint8: most are crowded, none is left out."""
        if rng.random() < 0.3:
            return draw_scene(random_scene(rng, held_out=None))
        things = [
            Thing(rng.choice(SHAPES), rng.choice(list(COLOURS)), rng.choice(list(SIZES)))
            for _ in range(rng.choice((4, 5, 6)))
        ]
        return draw_scene(place(things, rng.choice(list(BACKGROUNDS)), rng))

    def regions(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[Region]]:
        """Pictures, and of each a quarter of every object and a piece of plain ground.

        A quarter is to tell what the whole is, and apart from each other shape, colour and place: features
        of which each is a direction of its own, and none much fainter than another, are what a body learns
        to read soon.
        """
        scenes = [random_scene(rng) for _ in range(count)]
        regions = [
            Region(index, texts, _quarter(left, top, rng))
            for index, scene in enumerate(scenes)
            for texts, left, top in (
                *((phrases(thing), thing.left, thing.top) for thing in scene.things),
                ((f"{scene.background} background",), *rng.choice(free_places(scene.things))),
            )
        ]
        return [draw_scene(scene) for scene in scenes], regions

    def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
        """A picture and a conversation about it.

        The lesson *looking* asks what nothing but looking at the right one of several unlike objects answers.
        """
        if lesson:
            assert lesson == LOOKING
            scene = _of_unlike_things(rng)
            return Sample(
                draw_scene(scene), _independent(lambda: random_question(scene, rng, rng.choice(_LOOKED_UP)))
            )
        scene = random_scene(rng)
        return Sample(draw_scene(scene), _turns(scene, rng))

    def text(self, rng: random.Random) -> Sample:
        """A conversation about a picture that is only told of, or about what a request asks for."""
        if rng.random() < 0.3:
            return Sample(None, (random_request(rng),))
        scene = random_scene(rng)
        told = rng.choice(("Imagine {}.", "A picture shows {}.", "There is {}.")).format(description(scene))
        question = random_question(scene, rng)
        while question.kind in ("where", "relation", "describe", "places", "match", "nothing"):
            question = random_question(scene, rng)
        return Sample(None, ((f"{told} {question.text}", question.answer),))

    def generation(self, rng: random.Random) -> Sample:
        """A caption and its picture."""
        scene, caption = random_caption(rng)
        return Sample(draw_scene(scene), caption=caption)


def _turns(scene: Scene, rng: random.Random) -> tuple[tuple[str, str], ...]:
    """Questions of which none tells another's answer; one that tells all stands alone."""
    if rng.random() < 0.5:
        (kind,) = rng.choices(list(_TELLS_ALL), list(_TELLS_ALL.values()))
        question = random_question(scene, rng, kind)
        return ((question.text, question.answer),)
    return _independent(lambda: random_question(scene, rng))


def _independent(ask: Callable[[], Question]) -> tuple[tuple[str, str], ...]:
    """Turns of which none tells the answer of a later one."""
    turns: list[tuple[str, str]] = []
    told: list[tuple[str, frozenset[str]]] = []
    while len(turns) < TURNS:
        question = ask()
        names = _names(question)
        if question.kind in _TELLS_ALL or (question.kind, names) in told:
            continue
        if len(names) < 2 or not any(names <= earlier for _, earlier in told):
            turns.append((question.text, question.answer))
            told.append((question.kind, names))
    return tuple(turns)


def _of_unlike_things(rng: random.Random) -> Scene:
    """A scene of three or four objects, unlike in shape and colour, of pairs that training knows."""
    while True:
        scene = place(unlike_things(rng.choice((3, 4)), rng), rng.choice(list(BACKGROUNDS)), rng)
        if not scene.held_out:
            return scene


def _names(question: Question) -> frozenset[str]:
    """What a turn names: where an earlier one names all of it, its answer follows and none need look."""
    words = re.findall(r"\w+", f"{question.text} {question.answer}".lower())
    return frozenset(_NAMES[word] for word in words if word in _NAMES)


def _quarter(left: int, top: int, rng: random.Random) -> tuple[float, float, float, float]:
    """One quarter, by lot, of a place of which the upper left corner is given."""
    half = BOX // 2
    left, top = left + rng.choice((0, half)), top + rng.choice((0, half))
    return left / SIDE, top / SIDE, (left + half) / SIDE, (top + half) / SIDE
