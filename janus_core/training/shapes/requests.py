"""Free requests with the task that each asks for: what the model learns to tell them apart from."""

from __future__ import annotations

import random

from ...pipeline.routing import LETTERS, TASKS, routing_question
from .prompt_specs import CATEGORIES, random_wish
from .questions import random_question
from .scene import COLOURS, SHAPES, random_scene
from .words import noun

_DRAW = ("Draw {}.", "draw {}", "Paint {}.", "I would like to see {}.", "Make a picture of {}.", "Sketch {}.")
_DRAW_IT = (
    "Describe the image and then draw it.",
    "Describe this picture and then sketch it.",
    "What is in the image? Draw it again.",
    "Tell me what you see, then draw it.",
    "Write a caption and draw a new picture from it.",
    "describe and then sketch it",
)
_CHANGE = (
    "Make the {shape} {colour}.",
    "Change the {shape} to {colour}.",
    "Paint the {shape} {colour}.",
    "Remove the {shape}.",
    "Add {other}.",
    "Replace the {shape} with {other}.",
    "Make the background {colour}.",
)


def random_request(rng: random.Random) -> tuple[str, str]:
    """The question which task a request asks for, and the letter that answers it."""
    task = rng.choice(TASKS)
    if task == "understand":
        request = random_question(random_scene(rng), rng).text
    elif task == "generate":
        request = rng.choice(_DRAW).format(random_wish(rng.choice(CATEGORIES), rng).phrase)
    elif task == "edit":
        colour, other = rng.choice(list(COLOURS)), noun(rng.choice(SHAPES), rng.choice(list(COLOURS)))
        request = rng.choice(_CHANGE).format(shape=rng.choice(SHAPES), colour=colour, other=other)
    else:
        request = rng.choice(_DRAW_IT)
    return routing_question(request), LETTERS[TASKS.index(task)]
