"""Questions about a scene, with their answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from ...processing.judging import SCORE_TEMPLATE, score_question
from . import words
from .scene import COLOURS, SHAPES, Scene, SceneObject

# A question and its answer; None if the scene does not allow a question of that kind.
_Pair = tuple[str, str] | None


@dataclass(frozen=True)
class Question:
    """A question with its only correct answer."""

    kind: str  # one of `KINDS`
    text: str
    answer: str


def random_question(scene: Scene, rng: random.Random, kind: str | None = None) -> Question:
    """Returns a random question of a kind, which the scene must allow, or of any kind that it allows."""
    while True:
        chosen = kind or rng.choices(list(KINDS), _WEIGHTS)[0]
        pair = KINDS[chosen](scene, rng)
        if pair:
            return Question(chosen, *pair)
        if kind:
            raise ValueError(f"kind must be one that the scene allows, got {kind!r} for {scene}")


_DESCRIBE = (
    "Describe the image in detail.",
    "Describe the image.",
    "Describe this picture.",
    "What is in the image?",
    "What do you see?",
    "What does the picture show?",
)
_CAPTION = (
    "Write a short caption for this image in one sentence.",
    "Write a caption.",
    "Give the image a caption.",
    "Describe this image as a prompt for an image generator: the subject, the scene, the style, the light "
    "and the colours, in one paragraph.",
)
_TAGS = (
    "List the objects, attributes and styles in this image as tags separated by commas.",
    "List the objects.",
)
_PLACES = ("What is where?", "What is where in the image?", "Where are the objects?")
_EXIST = ("Is there {} in the image?", "Is there {}?", "Can you see {}?", "Does the image show {}?")
_NOTHING = (
    ("Write down all the text that can be read in this image.", "There is no text in the image."),
    ("Is there any text in the image?", "No."),
    ("Convert the formula into latex code.", "There is no formula in the image."),
    ("What is unusual or funny about this image? Explain it.", "Nothing is unusual about this image."),
)


def _describe(scene: Scene, rng: random.Random) -> _Pair:
    if rng.random() < 0.7:
        return rng.choice(_DESCRIBE), words.sentence(words.describe(scene))
    return rng.choice(_CAPTION), words.sentence(words.list_objects(scene))


def _tags(scene: Scene, rng: random.Random) -> _Pair:
    kinds = dict.fromkeys(f"{obj.colour} {obj.shape}" for obj in scene.objects)
    return rng.choice(_TAGS), ", ".join([*kinds, f"{scene.background} background"])


def _places(scene: Scene, rng: random.Random) -> _Pair:
    return rng.choice(_PLACES), words.sentence(words.locate_objects(scene))


def _match(scene: Scene, rng: random.Random) -> _Pair:
    """Asks as `JanusPipeline.score` does; half of the descriptions have one object changed."""
    describe = rng.choice((words.describe, words.list_objects, words.locate_objects))
    described_scene = scene
    if rng.random() < 0.5:
        objects = list(scene.objects)
        index = rng.randrange(len(objects))
        if rng.random() < 0.5:
            objects[index] = replace(objects[index], shape=rng.choice(SHAPES))
        else:
            objects[index] = replace(objects[index], colour=rng.choice(list(COLOURS)))
        described_scene = replace(scene, objects=tuple(objects))
    text = score_question(SCORE_TEMPLATE, words.sentence(describe(described_scene)))
    return text, "Yes." if described_scene == scene else "No."


def _nothing(scene: Scene, rng: random.Random) -> _Pair:
    return rng.choice(_NOTHING)


def _colour(scene: Scene, rng: random.Random) -> _Pair:
    obj = _unique_object(scene, rng, lambda obj: obj.shape)
    if obj is None:
        return None
    word = rng.choice(("colour", "colour", "color"))
    question = rng.choice(("What {} is the {}?", "Which {} does the {} have?")).format(word, obj.shape)
    return question, words.sentence(obj.colour)


def _shape(scene: Scene, rng: random.Random) -> _Pair:
    obj = _unique_object(scene, rng, lambda obj: obj.colour)
    if obj is None:
        return None
    question = rng.choice(("What shape is the {} object?", "What is the {} object?")).format(obj.colour)
    return question, words.sentence(words.noun_phrase(obj.shape))


def _count(scene: Scene, rng: random.Random) -> _Pair:
    kind = rng.random()
    if kind < 0.4:
        question = rng.choice(("How many objects are there?", "How many shapes are in the image?"))
        return question, words.sentence(words.NUMBERS[len(scene.objects)])
    shape = rng.choice(scene.objects).shape if rng.random() < 0.8 else rng.choice(SHAPES)
    colour = rng.choice(list(COLOURS)) if kind > 0.9 else None
    name = f"{colour} {words.plural(shape)}" if colour else words.plural(shape)
    question = rng.choice(("How many {} are there?", "How many {} are in the image?")).format(name)
    return question, words.sentence(words.NUMBERS[scene.count(shape, colour)])


def _exist(scene: Scene, rng: random.Random) -> _Pair:
    """Half of the answers are yes; half of the others share a shape or colour with an object present."""
    present = rng.choice(scene.objects)
    with_colour = rng.random() < 0.6
    if rng.random() < 0.5:
        shape, colour = present.shape, present.colour if with_colour else None
    else:
        colours = list(COLOURS) if with_colour else [None]
        absent = [pair for pair in product(SHAPES, colours) if not scene.count(*pair)]
        close = [pair for pair in absent if scene.count(pair[0]) or scene.count(None, pair[1])]
        shape, colour = rng.choice(close if close and rng.random() < 0.5 else absent)
    question = rng.choice(_EXIST).format(words.noun_phrase(shape, colour))
    return question, "Yes." if scene.count(shape, colour) else "No."


def _where(scene: Scene, rng: random.Random) -> _Pair:
    obj = _unique_object(scene, rng, lambda obj: obj.shape)
    if obj is None:
        return None
    return f"Where is the {obj.shape}?", words.sentence(words.region_name(obj))


def _relation(scene: Scene, rng: random.Random) -> _Pair:
    """The answer starts with both regions, from which the model can then derive the relation."""
    unique = [obj for obj in scene.objects if scene.count(obj.shape) == 1]
    if len(unique) < 2:
        return None
    first, second = rng.sample(unique, 2)
    region, other_region = words.region_name(first), words.region_name(second)
    regions = f"The {first.shape} is in the {region}, the {second.shape} in the {other_region}"
    relation = words.main_relation(first, second)
    if rng.random() < 0.5:
        question = f"Is the {first.shape} {' or '.join(words.RELATIONS)} the {second.shape}?"
        return question, f"{regions}: {relation}."
    others = [other for other in words.RELATIONS if other != relation]
    asked = relation if rng.random() < 0.5 else rng.choice(others)
    question = f"Is the {first.shape} {asked} the {second.shape}?"
    return question, f"{regions}: {'yes' if asked == relation else 'no'}."


def _background(scene: Scene, rng: random.Random) -> _Pair:
    question = rng.choice(("What colour is the background?", "What is the background?"))
    return question, words.sentence(scene.background)


def _unique_object(scene: Scene, rng: random.Random, key: Callable[[SceneObject], str]) -> SceneObject | None:
    """Returns a random object whose key (its shape or colour) no other object has."""
    keys = [key(obj) for obj in scene.objects]
    unique = [obj for obj in scene.objects if keys.count(key(obj)) == 1]
    return rng.choice(unique) if unique else None


KINDS: dict[str, Callable[[Scene, random.Random], _Pair]] = {
    "describe": _describe,
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "exist": _exist,
    "where": _where,
    "relation": _relation,
    "background": _background,
    "places": _places,
    "tags": _tags,
    "match": _match,
    "nothing": _nothing,
}
_WEIGHTS = (5, 3, 3, 5, 4, 3, 8, 1, 3, 1, 3, 0.5)
