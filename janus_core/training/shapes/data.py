"""The shapes world as training data: pictures, captions, conversations, and requests for task routing."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import numpy as np

from ...pipeline.routing import LETTERS, TASKS, routing_question
from ..samples import EditSample, Region, Sample
from .drawing import draw_scene, shuffle_patches
from .edits import random_edit
from .prompt_specs import CATEGORIES, random_caption, random_prompt_spec
from .questions import Question, random_question
from .scene import (
    COLOURS,
    SHAPES,
    crowded_scene,
    free_cells,
    random_quarter,
    random_scene,
    scene_without_words,
    varied_scene,
)
from .words import describe, noun_phrase, object_phrases, plural

TURNS = 6  # of a conversation about one picture
LOOKING = "looking"  # the lesson that needs the model to look at the right one of several different objects
COPYING = "copying"  # the lesson that needs the model to read the source's tokens, since nothing is likely
LESSONS = ("", LOOKING, COPYING)
_LOOKING_KINDS = ("where", "colour", "shape")
WORDLESS = 0.3  # share of edits without an instruction
_FULL_ANSWER_WEIGHTS = {"describe": 3, "places": 1, "tags": 1}  # kinds whose answer names all objects
_NEED_PICTURE = ("where", "relation", "describe", "places", "match", "nothing")

# Words for shapes, colours and regions, mapped to one form.
_TERMS = {plural(shape): shape for shape in SHAPES} | {
    name: name for name in (*SHAPES, *COLOURS, "top", "bottom", "left", "right", "centre")
}

# Requests that ask for each task except understanding.
_DRAW = ("Draw {}.", "draw {}", "Paint {}.", "I would like to see {}.", "Make a picture of {}.", "Sketch {}.")
_DESCRIBE_AND_DRAW = (
    "Describe the image and then draw it.",
    "Describe this picture and then sketch it.",
    "What is in the image? Draw it again.",
    "Tell me what you see, then draw it.",
    "Write a caption and draw a new picture from it.",
    "describe and then sketch it",
)
_COPY = (
    "Keep it.",
    "Change nothing.",
    "Draw the same picture again.",
    "Leave everything in the picture as it is.",
    "copy the image, with all objects in the same places and on the same background",
)
_EDIT = (
    "Make the {shape} {colour}.",
    "Change the {shape} to {colour}.",
    "Paint the {shape} {colour}.",
    "Remove the {shape}.",
    "Add {other}.",
    "Replace the {shape} with {other}.",
    "Make the background {colour}.",
)


class ShapesData:
    """Endless random samples, determined by the random generator passed in; implements `TrainingData`."""

    version = "world-8"
    description = "flat shapes in eight colours, in the middles of a 3 × 3 grid"
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
        """Returns a picture for the image autoencoder, [S, S, 3] uint8: mostly crowded, nothing held out."""
        scene = random_scene(rng, held_out=None) if rng.random() < 0.3 else crowded_scene(rng)
        return draw_scene(scene)

    def regions(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[Region]]:
        """Returns pictures and, of each, a quarter of every object's cell and of one empty cell.

        A quarter has to predict shape, colour and region, alone and in pairs. So these become separate
        directions of the features, of similar strength, which a language model learns to read quickly.
        """
        scenes = [random_scene(rng) for _ in range(count)]
        regions = [
            Region(index, texts, random_quarter(left, top, rng))
            for index, scene in enumerate(scenes)
            for texts, left, top in (
                *((object_phrases(obj), obj.left, obj.top) for obj in scene.objects),
                ((f"{scene.background} background",), *rng.choice(free_cells(scene.objects))),
            )
        ]
        return [draw_scene(scene) for scene in scenes], regions

    def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
        """Returns a picture and a conversation about it; the lesson of questions is `LOOKING`."""
        _check_lesson(lesson)
        if lesson == LOOKING:
            scene = varied_scene(rng)
            turns = _independent_turns(lambda: random_question(scene, rng, rng.choice(_LOOKING_KINDS)))
            return Sample(draw_scene(scene), turns)
        scene = random_scene(rng)
        if rng.random() < 0.5:
            # Such an answer would give away those of later questions, so it is the only turn.
            (kind,) = rng.choices(list(_FULL_ANSWER_WEIGHTS), list(_FULL_ANSWER_WEIGHTS.values()))
            question = random_question(scene, rng, kind)
            return Sample(draw_scene(scene), ((question.text, question.answer),))
        return Sample(draw_scene(scene), _independent_turns(lambda: random_question(scene, rng)))

    def text(self, rng: random.Random) -> Sample:
        """Returns a question about a scene that is described in words, or a routing question."""
        if rng.random() < 0.3:
            return Sample(None, (_random_request(rng),))
        scene = random_scene(rng)
        template = rng.choice(("Imagine {}.", "A picture shows {}.", "There is {}."))
        question = random_question(scene, rng)
        while question.kind in _NEED_PICTURE:
            question = random_question(scene, rng)
        prompt = f"{template.format(describe(scene))} {question.text}"
        return Sample(None, ((prompt, question.answer),))

    def generation(self, rng: random.Random) -> Sample:
        """Returns a caption and its picture."""
        scene, caption = random_caption(rng)
        return Sample(draw_scene(scene), caption=caption)

    def edit(self, rng: random.Random, lesson: str = "") -> EditSample:
        """Returns an edit, or without words a picture to draw again, which may show what is held out.

        The lesson of edits is `COPYING`: a picture whose patches are in a random order, to be drawn again.
        """
        _check_lesson(lesson)
        if lesson == COPYING:
            picture = shuffle_patches(draw_scene(crowded_scene(rng)), rng)
            return EditSample(picture, rng.choice(_COPY), picture, copies=True)
        if rng.random() < WORDLESS:
            picture = draw_scene(scene_without_words(rng))
            return EditSample(picture, "", picture)
        edit = random_edit(rng)
        return EditSample(draw_scene(edit.source), edit.instruction, draw_scene(edit.target))


def _check_lesson(lesson: str) -> None:
    """A stage has one lesson, for the questions or for the edits; the other ones are of all kinds."""
    if lesson not in LESSONS:
        raise ValueError(f"lesson must be {' or '.join(LESSONS[1:])}, or empty for all, got {lesson!r}")


def _random_request(rng: random.Random) -> tuple[str, str]:
    """Returns the routing question for a random request, and the letter of the task that it asks for."""
    task = rng.choice(TASKS)
    if task == "understand":
        request = random_question(random_scene(rng), rng).text
    elif task == "generate":
        request = rng.choice(_DRAW).format(random_prompt_spec(rng.choice(CATEGORIES), rng).phrase)
    elif task == "edit":
        colour = rng.choice(list(COLOURS))
        other = noun_phrase(rng.choice(SHAPES), rng.choice(list(COLOURS)))
        request = rng.choice(_EDIT).format(shape=rng.choice(SHAPES), colour=colour, other=other)
        if rng.random() < 0.5:
            request = random_edit(rng).instruction
    else:
        request = rng.choice(_DESCRIBE_AND_DRAW)
    return routing_question(request), LETTERS[TASKS.index(task)]


def _independent_turns(ask: Callable[[], Question]) -> tuple[tuple[str, str], ...]:
    """Collects turns that do not give away the answers of later ones."""
    turns: list[tuple[str, str]] = []
    earlier: list[tuple[str, set[str]]] = []  # kind and terms of each turn
    while len(turns) < TURNS:
        question = ask()
        words = re.findall(r"\w+", f"{question.text} {question.answer}".lower())
        terms = {_TERMS[word] for word in words if word in _TERMS}
        if question.kind in _FULL_ANSWER_WEIGHTS or (question.kind, terms) in earlier:
            continue
        # If one earlier turn has named all of the terms, the answer follows from it without looking.
        if len(terms) < 2 or not any(terms <= named for _, named in earlier):
            turns.append((question.text, question.answer))
            earlier.append((question.kind, terms))
    return tuple(turns)
