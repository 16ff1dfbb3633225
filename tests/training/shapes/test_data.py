"""The shapes world as training data."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, load_pipeline
from janus_nodes.janus_core.pipeline.routing import LETTERS, TASKS
from janus_nodes.janus_core.training.objectives.unified import UnifiedObjective
from janus_nodes.janus_core.training.samples import EditSample, Sample
from janus_nodes.janus_core.training.shapes.data import COPYING, LOOKING, TURNS, ShapesData
from janus_nodes.janus_core.training.shapes.drawing import draw_scene, read_picture, shuffle_patches
from janus_nodes.janus_core.training.shapes.model import SHAPES_RECIPE
from janus_nodes.janus_core.training.shapes.scene import COLOURS, SHAPES, varied_scene


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
    named = [(stage.name, stage.lesson) for stage in stages]
    assert named == [("looking", LOOKING), ("copying", COPYING)]
    asked: list[str] = []

    class Noting(ShapesData):
        def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
            asked.append(lesson)
            return super().understanding(rng, lesson)

        def edit(self, rng: random.Random, lesson: str = "") -> EditSample:
            asked.append(lesson)
            return super().edit(rng, lesson)

    pipeline = load_pipeline(DEMONSTRATION, dtype=torch.float32)
    for stage in stages:
        shares = tuple(int(share > 0) for share in stage.shares)
        objective = UnifiedObjective(pipeline, replace(stage, batch_size=4, shares=shares), Noting())
        objective.losses(0, random.Random(0))
    assert asked == [LOOKING] * 4 + [COPYING] * 2


def test_the_lesson_of_copying_is_a_picture_that_nobody_could_guess() -> None:
    for index in range(20):
        sample = ShapesData().edit(random.Random(index), COPYING)
        assert sample.copies and sample.instruction and np.array_equal(sample.source, sample.target)
        assert len(read_picture(sample.source).objects) > 6  # pieces, where a scene has at most six objects
        assert not ShapesData().edit(random.Random(index)).copies
    with pytest.raises(ValueError, match=r"lesson must be looking or copying, or empty for all, got 'copy'"):
        ShapesData().edit(random.Random(0), "copy")
    scene = varied_scene(random.Random(0))
    picture, shuffled = draw_scene(scene), shuffle_patches(draw_scene(scene), random.Random(0))
    pixels = [np.sort(image.reshape(-1, 3), axis=0) for image in (picture, shuffled)]
    assert np.array_equal(*pixels) and not np.array_equal(picture, shuffled)
    sides = range(0, 96, 16)
    pieces = [
        {image[top : top + 16, left : left + 16].tobytes() for top in sides for left in sides}
        for image in (picture, shuffled)
    ]
    assert pieces[0] == pieces[1]


def test_requests_to_route_include_every_kind_of_edit() -> None:
    asked = [ShapesData().text(random.Random(index)).turns[0] for index in range(2500)]
    edits = [question for question, answer in asked if answer == LETTERS[TASKS.index("edit")]]
    for word in ("Replace the", "Swap", "Move the", "Remove the", "background", " in the "):
        assert any(word in question for question in edits), word
