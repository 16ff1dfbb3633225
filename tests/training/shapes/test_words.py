"""Captions fit their scenes, and questions have the right answers."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from janus_nodes.janus_core.training.shapes.data import WorldData
from janus_nodes.janus_core.training.shapes.prompt_specs import (
    CATEGORIES,
    Part,
    PromptSpec,
    random_caption,
    random_wish,
)
from janus_nodes.janus_core.training.shapes.questions import KINDS, random_question
from janus_nodes.janus_core.training.shapes.scene import (
    BACKGROUNDS,
    BOX,
    COLOURS,
    SIDE,
    Scene,
    Thing,
    random_scene,
)
from janus_nodes.janus_core.training.shapes.words import description, region, related, stands

SCENE = Scene(
    "grey",
    (Thing("star", "red"), Thing("ring", "blue", left=64), Thing("cross", "red", left=32, top=64)),
)


def test_a_scene_is_described_in_reading_order() -> None:
    assert description(SCENE) == "a red star, a blue ring and a red cross on a grey background"
    twins = Scene("black", (Thing("cross", "orange"), Thing("cross", "orange", left=32)))
    assert description(twins) == "two orange crosses on a black background"


def test_places_have_names() -> None:
    assert [region(thing) for thing in SCENE.things] == ["top left", "top right", "bottom"]
    assert region(Thing("star", "red", left=32, top=32)) == "centre"


def test_relations_name_the_longer_way() -> None:
    star, ring, cross = SCENE.things
    assert related(star, ring) == "left of" and related(ring, star) == "right of"
    assert related(cross, star) == "below" and related(star, cross) == "above"
    assert stands(cross, "below", star) and stands(cross, "right of", star)
    assert not stands(cross, "above", star) and not stands(cross, "left of", star)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_wish_is_fulfilled_by_its_own_scene_and_not_by_another(category: str) -> None:
    for index in range(40):
        rng = random.Random(index)
        wish = random_wish(category, rng)
        assert not wish.held_out
        assert wish.fulfilled(wish.scene(rng))
        assert not wish.fulfilled(Scene("white", (Thing("unknown", "red"),)))


@pytest.mark.parametrize("category", ["two objects", "colour attribution"])
def test_what_is_named_first_stands_first(category: str) -> None:
    for index in range(40):
        rng = random.Random(index)
        wish = random_wish(category, rng)
        assert [thing.shape for thing in wish.scene(rng).things] == [part.shape for part in wish.parts]


def test_counting_is_exact_and_colours_belong_to_their_shapes() -> None:
    two = Scene("white", (Thing("star", "red"), Thing("star", "green", left=32)))
    assert PromptSpec("counting", (Part("star", None, 2),)).fulfilled(two)
    assert not PromptSpec("counting", (Part("star", "red", 2),)).fulfilled(two)
    assert not PromptSpec("counting", (Part("star", None, 1),)).fulfilled(two)
    swapped = Scene("white", (Thing("star", "blue"), Thing("ring", "red", left=32)))
    wish = PromptSpec("colour attribution", (Part("star", "red"), Part("ring", "blue")))
    assert not wish.fulfilled(swapped)
    assert wish.fulfilled(SCENE)


def test_held_out_wishes_name_what_training_leaves_out() -> None:
    for category in ("counting", "colours", "colour attribution"):
        assert random_wish(category, random.Random(1), held_out=True).held_out


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("background", {"Grey."}),
        ("describe", {"A red star, a blue ring and a red cross on a grey background.",
                      "A red star, a blue ring and a red cross."}),
        ("shape", {"A ring."}),
        ("tags", {"red star, blue ring, red cross, grey background"}),
    ],
)  # fmt: skip
def test_answers_are_those_of_the_scene(kind: str, answers: set[str]) -> None:
    assert {random_question(SCENE, random.Random(index), kind).answer for index in range(40)} == answers


def test_a_relation_follows_from_the_places_that_its_answer_names() -> None:
    things = {thing.shape: thing for thing in SCENE.things}
    for index in range(60):
        asked = random_question(SCENE, random.Random(index), "relation")
        words = asked.text.rstrip("?").split()
        first, second = things[words[2]], things[words[-1]]
        found = f"The {first.shape} is in the {region(first)}, the {second.shape} in the {region(second)}: "
        true = related(first, second)
        said = " ".join(words[3:-2])
        verdict = true if " or " in asked.text else "yes" if said == true else "no"
        assert asked.answer == f"{found}{verdict}."


def test_presence_is_asked_evenly_and_answered_truly() -> None:
    answers: Counter[str] = Counter()
    for index in range(400):
        rng = random.Random(index)
        scene = random_scene(rng)
        question = random_question(scene, rng, "exist")
        named = [thing for thing in scene.things if f" {thing.shape}" in question.text]
        if question.answer == "Yes.":
            assert named
        answers[question.answer] += 1
    assert 160 <= answers["Yes."] <= 240


def test_a_kind_that_the_scene_does_not_allow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind must be one that the scene allows, got 'relation'"):
        random_question(Scene("white", (Thing("star", "red"),)), random.Random(0), "relation")
    assert set(KINDS) >= {"describe", "colour", "count", "exist", "where", "background"}


def test_regions_are_quarters_of_objects_and_pieces_of_ground() -> None:
    pictures, regions = WorldData().regions(random.Random(2), 8)
    assert len(pictures) == 8
    for one in regions:
        left, top, right, bottom = (round(edge * SIDE) for edge in one.box)
        assert (right - left, bottom - top) == (BOX // 2, BOX // 2)
        part = pictures[one.picture][top:bottom, left:right].astype(int)
        plain = np.ptp(part, axis=(0, 1)).max() == 0
        if one.texts[0].endswith("background"):
            assert plain and one.texts == (f"{_nearest(part[0, 0], BACKGROUNDS)} background",)
        else:
            colour = one.texts[1]
            assert np.abs(part - COLOURS[colour]).sum(axis=-1).min() < 40
            spot = Thing("star", "red", left=left // BOX * BOX, top=top // BOX * BOX)
            assert one.texts[2] == f"in the {region(spot)}"
    assert sum(one.texts[0].endswith("background") for one in regions) == 8


def _nearest(pixel: np.ndarray, names: dict[str, tuple[int, int, int]]) -> str:
    return min(names, key=lambda name: int(np.abs(pixel - names[name]).sum()))


def test_nothing_with_words_shows_what_is_held_out() -> None:
    for index in range(200):
        scene, _ = random_caption(random.Random(index))
        assert not scene.held_out


def test_the_same_generator_gives_the_same_samples() -> None:
    data = WorldData()
    for task in ("understanding", "text", "generation"):
        one, other = (getattr(data, task)(random.Random(3)) for _ in range(2))
        assert (one.turns, one.caption) == (other.turns, other.caption)
        assert (one.picture is None) == (task == "text")
        if one.picture is not None:
            assert (one.picture == other.picture).all()
