"""Training asks the questions that the code asks later, word for word."""

from __future__ import annotations

import random

from janus_nodes.janus_core.pipeline.routing import DESCRIBE
from janus_nodes.janus_core.training.folder_data import CAPTION_QUESTIONS
from janus_nodes.janus_core.training.shapes.questions import random_question
from janus_nodes.janus_core.training.shapes.scene import random_scene


def test_the_descriptions_that_the_core_asks_for_are_learnt() -> None:
    rng = random.Random(0)
    asked = {random_question(random_scene(rng), rng, "describe").text for _ in range(500)}
    assert {DESCRIBE, *CAPTION_QUESTIONS} <= asked
