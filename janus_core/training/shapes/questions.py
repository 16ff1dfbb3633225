"""Questions about a scene, with the answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...processing.judging import SCORE_TEMPLATE, score_question
from .scene import COLOURS, SHAPES, Scene, Thing
from .words import (
    NUMBERS,
    RELATIONS,
    description,
    noun,
    places,
    plural,
    region,
    related,
    sentence,
    things_in_words,
)


@dataclass(frozen=True)
class Question:
    """A question with its only right answer.

    Attributes:
        kind: one of `KINDS`.
        text: the question.
        answer: the answer, a sentence.
    """

    kind: str
    text: str
    answer: str


def random_question(scene: Scene, rng: random.Random, kind: str | None = None) -> Question:
    """A question that the scene answers.

    Args:
        scene: what is asked about.
        rng: decides everything.
        kind: one of `KINDS`; by default any that the scene allows.
    """
    while True:
        chosen = kind or rng.choices(list(KINDS), _WEIGHTS)[0]
        found = KINDS[chosen](scene, rng)
        if found:
            return Question(chosen, *found)
        if kind:
            raise ValueError(f"kind must be one that the scene allows, got {kind!r} for {scene}")


_Found = tuple[str, str] | None

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


def _describe(scene: Scene, rng: random.Random) -> _Found:
    if rng.random() < 0.7:
        return rng.choice(_DESCRIBE), sentence(description(scene))
    return rng.choice(_CAPTION), sentence(things_in_words(scene))


def _tags(scene: Scene, rng: random.Random) -> _Found:
    kinds = dict.fromkeys(f"{thing.colour} {thing.shape}" for thing in scene.things)
    return rng.choice(_TAGS), ", ".join([*kinds, f"{scene.background} background"])


def _places(scene: Scene, rng: random.Random) -> _Found:
    return rng.choice(_PLACES), sentence(places(scene))


def _match(scene: Scene, rng: random.Random) -> _Found:
    """What a score asks; half of the time of a description in which one object is another."""
    told, phrase = scene, rng.choice((description, things_in_words, places))
    if rng.random() < 0.5:
        things = list(scene.things)
        index = rng.randrange(len(things))
        if rng.random() < 0.5:
            things[index] = replace(things[index], shape=rng.choice(SHAPES))
        else:
            things[index] = replace(things[index], colour=rng.choice(list(COLOURS)))
        told = replace(scene, things=tuple(things))
    text = score_question(SCORE_TEMPLATE, sentence(phrase(told)))
    return text, "Yes." if told == scene else "No."


def _nothing(scene: Scene, rng: random.Random) -> _Found:
    return rng.choice(_NOTHING)


def _colour(scene: Scene, rng: random.Random) -> _Found:
    thing = _only(scene, rng, lambda one, other: one.shape == other.shape)
    if thing is None:
        return None
    word = rng.choice(("colour", "colour", "color"))
    question = rng.choice(("What {} is the {}?", "Which {} does the {} have?")).format(word, thing.shape)
    return question, sentence(thing.colour)


def _shape(scene: Scene, rng: random.Random) -> _Found:
    thing = _only(scene, rng, lambda one, other: one.colour == other.colour)
    if thing is None:
        return None
    question = rng.choice(("What shape is the {} object?", "What is the {} object?")).format(thing.colour)
    return question, sentence(noun(thing.shape))


def _count(scene: Scene, rng: random.Random) -> _Found:
    kind = rng.random()
    if kind < 0.4:
        question = rng.choice(("How many objects are there?", "How many shapes are in the image?"))
        return question, sentence(NUMBERS[len(scene.things)])
    shape = rng.choice(scene.things).shape if rng.random() < 0.8 else rng.choice(SHAPES)
    colour = rng.choice(list(COLOURS)) if kind > 0.9 else None
    name = f"{colour} {plural(shape)}" if colour else plural(shape)
    question = rng.choice(("How many {} are there?", "How many {} are in the image?")).format(name)
    return question, sentence(NUMBERS[scene.count(shape, colour)])


def _exist(scene: Scene, rng: random.Random) -> _Found:
    """Yes half of the time; a no is near a yes half of the time (a wrong pairing of what is there)."""
    present = rng.choice(scene.things)
    named = rng.random() < 0.6
    if rng.random() < 0.5:
        shape, colour = present.shape, present.colour if named else None
    else:
        options = [
            (shape, colour)
            for shape in SHAPES
            for colour in (COLOURS if named else (None,))
            if not scene.count(shape, colour)
        ]
        near = [pair for pair in options if scene.count(pair[0]) or scene.count(None, pair[1])]
        shape, colour = rng.choice(near if near and rng.random() < 0.5 else options)
    return rng.choice(_EXIST).format(noun(shape, colour)), "Yes." if scene.count(shape, colour) else "No."


def _where(scene: Scene, rng: random.Random) -> _Found:
    thing = _only(scene, rng, lambda one, other: one.shape == other.shape)
    if thing is None:
        return None
    return f"Where is the {thing.shape}?", sentence(region(thing))


def _relation(scene: Scene, rng: random.Random) -> _Found:
    """Answered with both places first: what follows from them can then be read off."""
    alone = [thing for thing in scene.things if scene.count(thing.shape) == 1]
    if len(alone) < 2:
        return None
    first, second = rng.sample(alone, 2)
    found = f"The {first.shape} is in the {region(first)}, the {second.shape} in the {region(second)}"
    true = related(first, second)
    if rng.random() < 0.5:
        question = f"Is the {first.shape} {' or '.join(RELATIONS)} the {second.shape}?"
        return question, f"{found}: {true}."
    said = true if rng.random() < 0.5 else rng.choice([word for word in RELATIONS if word != true])
    question = f"Is the {first.shape} {said} the {second.shape}?"
    return question, f"{found}: {'yes' if said == true else 'no'}."


def _background(scene: Scene, rng: random.Random) -> _Found:
    question = rng.choice(("What colour is the background?", "What is the background?"))
    return question, sentence(scene.background)


KINDS: dict[str, Callable[[Scene, random.Random], _Found]] = {
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


def _only(scene: Scene, rng: random.Random, alike: Callable[[Thing, Thing], bool]) -> Thing | None:
    """An object unlike all others, by lot."""
    alone = [one for one in scene.things if sum(alike(one, other) for other in scene.things) == 1]
    return rng.choice(alone) if alone else None
