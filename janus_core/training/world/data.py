"""The world as training data: pictures, captions, conversations."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from ..samples import Sample
from .draw import draw_scene
from .questions import random_question
from .requests import random_request
from .scene import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, Thing, place, random_scene
from .wishes import random_caption
from .words import description, places

VERSION = "3"

# Turns of a conversation about one picture.
TURNS = 4
_TELLS_ALL = ("describe", "places", "tags")


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

    def pairs(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[str]]:
        """Pictures with captions that tell them apart.

        In fours, the second to the fourth like the first but for all shapes, one shape, or the places:
        colours would else be all that the contrast teaches.
        """
        scenes: list[Scene] = []
        while len(scenes) < count:
            scene = random_scene(rng)
            scenes += [scene, _other_shapes(scene, rng), _other_shapes(scene, rng, only_one=True)]
            scenes.append(place(scene.things, scene.background, rng))
        scenes = scenes[:count]
        captions = [f"{places(scene)} on {scene.background}" for scene in scenes]
        return [draw_scene(scene) for scene in scenes], captions

    def understanding(self, rng: random.Random) -> Sample:
        """A picture and a conversation about it."""
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
    """Questions of different kinds; one that tells all stands alone: no other is to be answered from it."""
    if rng.random() < 0.4:
        question = random_question(scene, rng, rng.choice(_TELLS_ALL))
        return ((question.text, question.answer),)
    asked: dict[str, tuple[str, str]] = {}
    while len(asked) < TURNS:
        question = random_question(scene, rng)
        if question.kind not in (*asked, *_TELLS_ALL):
            asked[question.kind] = (question.text, question.answer)
    return tuple(asked.values())


def _other_shapes(scene: Scene, rng: random.Random, only_one: bool = False) -> Scene:
    while True:
        changed = rng.randrange(len(scene.things))
        things = tuple(
            replace(thing, shape=rng.choice(SHAPES)) if index == changed or not only_one else thing
            for index, thing in enumerate(scene.things)
        )
        other = Scene(scene.background, things)
        if not other.held_out:
            return other
