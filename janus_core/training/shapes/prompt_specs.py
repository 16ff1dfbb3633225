"""Prompts and what a picture must show to satisfy them.

The categories are those of GenEval (arXiv:2310.11513); training captions add whole descriptions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from . import words
from .scene import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT_COLOURS,
    HELD_OUT_COUNTS,
    MAX_OBJECTS,
    SHAPES,
    Scene,
    SceneObject,
    arrange,
    random_object,
    random_scene,
)

CATEGORIES = ("single object", "two objects", "counting", "colours", "position", "colour attribution")
_CAPTION_WEIGHTS = (1, 2, 4, 1, 4, 8)  # how often a training caption is of each category

_TEMPLATES = (
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
_ALTERNATIVES = {
    " on a ": " on ",
    "grey": "gray",
    " left of ": " to the left of ",
    " right of ": " to the right of ",
    " above ": " over ",
    " below ": " under ",
}


@dataclass(frozen=True)
class ObjectSpec:
    """A number of objects of one shape; the colour None allows any."""

    shape: str
    colour: str | None = None
    count: int = 1

    def matches(self, obj: SceneObject) -> bool:
        """Whether an object has this shape and colour."""
        return self.shape == obj.shape and self.colour in (None, obj.colour)


@dataclass(frozen=True)
class PromptSpec:
    """What a picture has to show: objects of one shape, or of two, with an optional relation of these."""

    category: str  # one of `CATEGORIES`
    objects: tuple[ObjectSpec, ...]
    relation: str | None = None  # one of `RELATIONS`, of the first to the second

    @property
    def held_out(self) -> bool:
        """Whether it names a colour or count that is held out of training."""
        return any(
            HELD_OUT_COLOURS[spec.shape] == spec.colour or HELD_OUT_COUNTS[spec.shape] == spec.count
            for spec in self.objects
        )

    @property
    def phrase(self) -> str:
        """The specification in words, for `paraphrase` to vary."""
        phrases = [words.noun_phrase(spec.shape, spec.colour, spec.count) for spec in self.objects]
        return f"{phrases[0]} {self.relation} {phrases[1]}" if self.relation else words.join_phrases(phrases)

    def is_satisfied_by(self, scene: Scene) -> bool:
        """Whether a scene shows it. As in GenEval, counts must be exact only in the category "counting"."""
        if self.category == "counting":
            spec = self.objects[0]
            return scene.count(spec.shape, spec.colour) == scene.count(spec.shape) == spec.count
        if self.relation:
            first, second = self.objects
            return any(
                first.matches(one) and second.matches(other) and words.is_related(one, self.relation, other)
                for one in scene.objects
                for other in scene.objects
            )
        return all(scene.count(spec.shape, spec.colour) >= spec.count for spec in self.objects)

    def scene(self, rng: random.Random) -> Scene:
        """Returns a scene with these objects and no others; whatever is unspecified is random.

        Without a relation, objects appear in the order in which the caption names them. Otherwise the model
        could know which colour comes first only after drawing it, and would learn to guess.
        """
        background = rng.choice(list(BACKGROUNDS))
        while True:
            objects = [obj for spec in self.objects for obj in _random_objects(spec, rng)]
            scene = arrange(objects, rng, background, keep_order=self.relation is None)
            if self.relation is None:
                return scene
            by_shape = {obj.shape: obj for obj in scene.objects}
            first, second = (by_shape[spec.shape] for spec in self.objects)
            if words.main_relation(first, second) == self.relation:  # not merely one of two that hold
                return scene


def random_prompt_spec(category: str, rng: random.Random, held_out: bool = False) -> PromptSpec:
    """Returns a random specification of a category that does, or does not, name a held-out combination.

    Only counting, colours and colour attribution have held-out combinations.
    """
    while True:
        spec = PromptSpec(category, *_random_parts(category, rng))
        if spec.held_out == held_out:
            return spec


def random_caption(rng: random.Random) -> tuple[Scene, str]:
    """Returns a scene and a caption for training: a prompt of some category, or a whole description."""
    if rng.random() < 0.4:
        scene = random_scene(rng)
        describe = rng.choice(
            (words.describe, words.list_objects, words.locate_objects, words.locate_objects)
        )
        return scene, paraphrase(describe(scene), rng)
    while True:
        spec = random_prompt_spec(rng.choices(CATEGORIES, _CAPTION_WEIGHTS)[0], rng)
        if spec.relation and rng.random() < 0.5:
            spec = replace(spec, objects=tuple(_with_random_colour(part, rng) for part in spec.objects))
        scene = spec.scene(rng)
        if not scene.held_out:
            break
    background = f" on a {scene.background} background" if rng.random() < 0.3 else ""
    return scene, paraphrase(spec.phrase + background, rng)


def paraphrase(phrase: str, rng: random.Random) -> str:
    """Varies the wording of a phrase, the words around it, and its first letter's case."""
    for usual, alternative in _ALTERNATIVES.items():
        if rng.random() < 0.2:
            phrase = phrase.replace(usual, alternative)
    text = rng.choice(_TEMPLATES).format(phrase)
    return text[0].upper() + text[1:] if rng.random() < 0.5 else text


def _random_parts(category: str, rng: random.Random) -> tuple[tuple[ObjectSpec, ...], str | None]:
    """Returns the objects and the relation of a random specification."""
    first, second = rng.sample(SHAPES, 2)
    colours = rng.choices(list(COLOURS), k=2)
    if category == "single object":
        return (ObjectSpec(first),), None
    if category == "colours":
        return (ObjectSpec(first, colours[0]),), None
    if category == "counting":
        colour = colours[0] if rng.random() < 0.5 else None
        return (ObjectSpec(first, colour, rng.randint(2, MAX_OBJECTS)),), None
    if category == "two objects":
        return (ObjectSpec(first), ObjectSpec(second)), None
    if category == "colour attribution":
        return (ObjectSpec(first, colours[0]), ObjectSpec(second, colours[1])), None
    return (ObjectSpec(first), ObjectSpec(second)), rng.choice(words.RELATIONS)


def _with_random_colour(spec: ObjectSpec, rng: random.Random) -> ObjectSpec:
    allowed = [colour for colour in COLOURS if colour != HELD_OUT_COLOURS[spec.shape]]
    return replace(spec, colour=rng.choice(allowed))


def _random_objects(spec: ObjectSpec, rng: random.Random) -> list[SceneObject]:
    """Returns objects that match a specification; without a colour, half of the time of one colour."""
    colour = spec.colour or (rng.choice(list(COLOURS)) if rng.random() < 0.5 else None)
    return [random_object(rng, spec.shape, colour) for _ in range(spec.count)]
