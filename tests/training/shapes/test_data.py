"""The shapes world as training data."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import torch
from janus_nodes.janus_core import DEMONSTRATION, load_pipeline
from janus_nodes.janus_core.pipeline.routing import LETTERS, TASKS
from janus_nodes.janus_core.training.objectives.unified import UnifiedObjective
from janus_nodes.janus_core.training.samples import Sample
from janus_nodes.janus_core.training.shapes.data import LOOKING, TURNS, ShapesData
from janus_nodes.janus_core.training.shapes.model import SHAPES_RECIPE
from janus_nodes.janus_core.training.shapes.scene import COLOURS, SHAPES


def test_no_turn_gives_away_a_later_answer() -> None:
    where = colour = 0
    for index in range(500):
        turns = ShapesData().understanding(random.Random(index)).turns
        assert len(turns) in (1, TURNS)
        assert len(set(turns)) == len(turns)
        for number, (question, answer) in enumerate(turns):
            before = [f"{asked} {said}".lower() for asked, said in turns[:number]]
            if found := re.fullmatch(r"Where is the (\w+)\?", question):
                where += 1
                assert not any(f"the {found[1]} in the {answer[:-1].lower()}" in text for text in before)
                assert not any(f"the {found[1]} is in the {answer[:-1].lower()}" in text for text in before)
            if found := re.match(r"(?:What|Which) colou?r (?:is|does) the (\w+)", question):
                shape, right = found[1], answer[:-1].lower()
                if shape in SHAPES and right in COLOURS:
                    colour += 1
                    assert not any(f"{right} {shape}" in text for text in before)
    assert min(where, colour) > 50


def test_the_lesson_of_looking_asks_for_one_of_several_unlike_objects() -> None:
    for index in range(200):
        turns = ShapesData().understanding(random.Random(index), LOOKING).turns
        assert len(turns) == TURNS
        words = " ".join(part for turn in turns for part in turn).lower()
        assert sum(shape in words for shape in SHAPES) >= 3
        pairs = set()
        for question, answer in turns:
            what, where = re.match(r"(What|Which) ", question), re.match(r"Where is the ", question)
            assert what or where
            if what:
                named = re.findall(r"\w+", f"{question} {answer}".lower())
                pairs.add(frozenset(word for word in named if word in SHAPES or word in COLOURS))
        assert all(len(pair) == 2 for pair in pairs)
        for one in pairs:  # no shape and no colour comes in two pairs: nothing is answered by guessing
            assert all(one == other or not one & other for other in pairs)


def test_a_stage_takes_its_lesson() -> None:
    stages = [stage for stage in SHAPES_RECIPE.stages if stage.lesson]
    assert [(stage.name, stage.lesson) for stage in stages] == [("looking", LOOKING)]
    asked: list[str] = []

    class Noting(ShapesData):
        def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
            asked.append(lesson)
            return super().understanding(rng, lesson)

    pipeline = load_pipeline(DEMONSTRATION, dtype=torch.float32)
    UnifiedObjective(pipeline, replace(stages[0], batch_size=2), Noting()).losses(0, random.Random(0))
    assert asked == [LOOKING] * 2


def test_requests_to_route_include_every_kind_of_edit() -> None:
    asked = [ShapesData().text(random.Random(index)).turns[0] for index in range(2500)]
    edits = [question for question, answer in asked if answer == LETTERS[TASKS.index("edit")]]
    for word in ("Replace the", "Swap", "Move the", "Remove the", "background", " in the "):
        assert any(word in question for question in edits), word
