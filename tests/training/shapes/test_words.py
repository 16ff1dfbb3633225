"""Captions match their scenes, and questions have correct answers."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from janus_nodes.janus_core.training.shapes.data import ShapesData
from janus_nodes.janus_core.training.shapes.prompt_specs import (
    CATEGORIES,
    ObjectSpec,
    PromptSpec,
    random_caption,
    random_prompt_spec,
)
from janus_nodes.janus_core.training.shapes.questions import KINDS, random_question
from janus_nodes.janus_core.training.shapes.scene import (
    BACKGROUNDS,
    CELL_SIZE,
    COLOURS,
    PICTURE_SIZE,
    Scene,
    SceneObject,
    random_scene,
)
from janus_nodes.janus_core.training.shapes.words import describe, is_related, main_relation, region_name

SCENE = Scene(
    "grey",
    (
        SceneObject("star", "red"),
        SceneObject("ring", "blue", left=64),
        SceneObject("cross", "red", left=32, top=64),
    ),
)


def test_a_scene_is_described_in_reading_order() -> None:
    assert describe(SCENE) == "a red star, a blue ring and a red cross on a grey background"
    twins = Scene("black", (SceneObject("cross", "orange"), SceneObject("cross", "orange", left=32)))
    assert describe(twins) == "two orange crosses on a black background"


def test_regions_have_names() -> None:
    assert [region_name(obj) for obj in SCENE.objects] == ["top left", "top right", "bottom"]
    assert region_name(SceneObject("star", "red", left=32, top=32)) == "centre"


def test_the_main_relation_is_along_the_longer_axis() -> None:
    star, ring, cross = SCENE.objects
    assert main_relation(star, ring) == "left of" and main_relation(ring, star) == "right of"
    assert main_relation(cross, star) == "below" and main_relation(star, cross) == "above"
    assert is_related(cross, "below", star) and is_related(cross, "right of", star)
    assert not is_related(cross, "above", star) and not is_related(cross, "left of", star)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_spec_is_satisfied_by_its_own_scene_and_not_by_another(category: str) -> None:
    for index in range(40):
        rng = random.Random(index)
        spec = random_prompt_spec(category, rng)
        assert not spec.held_out
        assert spec.is_satisfied_by(spec.scene(rng))
        assert not spec.is_satisfied_by(Scene("white", (SceneObject("unknown", "red"),)))


@pytest.mark.parametrize("category", ["two objects", "colour attribution"])
def test_objects_appear_in_the_order_of_the_caption(category: str) -> None:
    for index in range(40):
        rng = random.Random(index)
        spec = random_prompt_spec(category, rng)
        assert [obj.shape for obj in spec.scene(rng).objects] == [part.shape for part in spec.objects]


def test_counting_is_exact_and_colours_belong_to_their_shapes() -> None:
    two = Scene("white", (SceneObject("star", "red"), SceneObject("star", "green", left=32)))
    assert PromptSpec("counting", (ObjectSpec("star", None, 2),)).is_satisfied_by(two)
    assert not PromptSpec("counting", (ObjectSpec("star", "red", 2),)).is_satisfied_by(two)
    assert not PromptSpec("counting", (ObjectSpec("star", None, 1),)).is_satisfied_by(two)
    swapped = Scene("white", (SceneObject("star", "blue"), SceneObject("ring", "red", left=32)))
    spec = PromptSpec("colour attribution", (ObjectSpec("star", "red"), ObjectSpec("ring", "blue")))
    assert not spec.is_satisfied_by(swapped)
    assert spec.is_satisfied_by(SCENE)


def test_held_out_specs_name_held_out_combinations() -> None:
    for category in ("counting", "colours", "colour attribution"):
        assert random_prompt_spec(category, random.Random(1), held_out=True).held_out


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("background", {"Grey."}),
        (
            "describe",
            {
                "A red star, a blue ring and a red cross on a grey background.",
                "A red star, a blue ring and a red cross.",
            },
        ),
        ("shape", {"A ring."}),
        ("tags", {"red star, blue ring, red cross, grey background"}),
    ],
)
def test_answers_are_those_of_the_scene(kind: str, answers: set[str]) -> None:
    assert {random_question(SCENE, random.Random(index), kind).answer for index in range(40)} == answers


def test_a_relation_follows_from_the_regions_in_its_answer() -> None:
    objects = {obj.shape: obj for obj in SCENE.objects}
    for index in range(60):
        asked = random_question(SCENE, random.Random(index), "relation")
        words = asked.text.rstrip("?").split()
        first, second = objects[words[2]], objects[words[-1]]
        regions = region_name(first), region_name(second)
        relation = main_relation(first, second)
        asked_relation = " ".join(words[3:-2])
        verdict = relation if " or " in asked.text else "yes" if asked_relation == relation else "no"
        assert asked.answer == (
            f"The {first.shape} is in the {regions[0]}, the {second.shape} in the {regions[1]}: {verdict}."
        )


def test_presence_questions_are_balanced_and_answered_correctly() -> None:
    answers: Counter[str] = Counter()
    for index in range(400):
        rng = random.Random(index)
        scene = random_scene(rng)
        question = random_question(scene, rng, "exist")
        named = [obj for obj in scene.objects if f" {obj.shape}" in question.text]
        if question.answer == "Yes.":
            assert named
        answers[question.answer] += 1
    assert 160 <= answers["Yes."] <= 240


def test_a_kind_that_the_scene_does_not_allow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind must be one that the scene allows, got 'relation'"):
        random_question(Scene("white", (SceneObject("star", "red"),)), random.Random(0), "relation")
    assert set(KINDS) >= {"describe", "colour", "count", "exist", "where", "background"}


def test_regions_are_quarters_of_objects_and_of_empty_cells() -> None:
    pictures, regions = ShapesData().regions(random.Random(2), 8)
    assert len(pictures) == 8
    for one in regions:
        left, top, right, bottom = (round(edge * PICTURE_SIZE) for edge in one.box)
        assert (right - left, bottom - top) == (CELL_SIZE // 2, CELL_SIZE // 2)
        part = pictures[one.picture][top:bottom, left:right].astype(int)
        plain = np.ptp(part, axis=(0, 1)).max() == 0
        if one.texts[0].endswith("background"):
            assert plain and one.texts == (f"{_nearest(part[0, 0], BACKGROUNDS)} background",)
        else:
            colour = one.texts[1]
            assert np.abs(part - COLOURS[colour]).sum(axis=-1).min() < 40
            spot = SceneObject(
                "star", "red", left=left // CELL_SIZE * CELL_SIZE, top=top // CELL_SIZE * CELL_SIZE
            )
            assert one.texts[2] == f"in the {region_name(spot)}"
    assert sum(one.texts[0].endswith("background") for one in regions) == 8


def _nearest(pixel: np.ndarray, names: dict[str, tuple[int, int, int]]) -> str:
    return min(names, key=lambda name: int(np.abs(pixel - names[name]).sum()))


def test_captions_are_of_no_held_out_scenes() -> None:
    for index in range(200):
        scene, _ = random_caption(random.Random(index))
        assert not scene.held_out


def test_the_same_generator_gives_the_same_samples() -> None:
    data = ShapesData()
    for task in ("understanding", "text", "generation"):
        one, other = (getattr(data, task)(random.Random(3)) for _ in range(2))
        assert (one.turns, one.caption) == (other.turns, other.caption)
        assert (one.picture is None) == (task == "text")
        if one.picture is not None:
            assert (one.picture == other.picture).all()
