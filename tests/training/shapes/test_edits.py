"""Edits say clearly what changes, and are judged by it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from janus_nodes.janus_core.training.shapes.data import ShapesData
from janus_nodes.janus_core.training.shapes.drawing import draw_scene, read_picture
from janus_nodes.janus_core.training.shapes.edits import (
    EDIT_KINDS,
    follows,
    keeps_the_rest,
    random_edit,
    refer_to,
)
from janus_nodes.janus_core.training.shapes.scene import (
    BACKGROUNDS,
    HELD_OUT_COLOURS,
    MAX_OBJECTS,
    Scene,
    SceneObject,
    random_scene,
)


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_the_target_shows_the_edit_and_the_source_does_not(kind: str) -> None:
    wordings = set()
    for index in range(60):
        edit = random_edit(random.Random(index), kind)
        target, source = (read_picture(draw_scene(scene)) for scene in (edit.target, edit.source))
        assert follows(edit, target) and keeps_the_rest(edit, target), edit
        assert not follows(edit, source), edit
        assert not edit.source.held_out and not edit.target.held_out
        assert 1 <= len(edit.target.objects) <= MAX_OBJECTS
        wordings.add(edit.instruction.lower().split()[0])
    assert len(wordings) >= 3


def test_a_change_elsewhere_is_found() -> None:
    for index in range(200):
        edit = random_edit(random.Random(index))
        target = edit.target
        extra = [obj for obj in target.objects if obj in edit.source.objects]
        spoilt = [
            replace(target, objects=tuple(other for other in target.objects if other != obj)) for obj in extra
        ]
        if extra:
            size = {"small": "large", "large": "small"}[extra[0].size]
            others = tuple(obj for obj in target.objects if obj != extra[0])
            spoilt.append(replace(target, objects=(*others, replace(extra[0], size=size))))
        if edit.kind != "background":
            (background, *_) = [name for name in BACKGROUNDS if name != target.background]
            changed = replace(target, background=background)
            assert follows(edit, changed) and not keeps_the_rest(edit, changed)
        assert not any(keeps_the_rest(edit, scene) for scene in spoilt)
        assert all(follows(edit, scene) for scene in spoilt)


def test_a_reference_means_one_object() -> None:
    for index in range(300):
        rng = random.Random(index)
        scene = random_scene(rng)
        for obj in scene.objects:
            phrase = refer_to(obj, scene, rng).removeprefix("the ")
            what, _, where = phrase.partition(" in the ")
            meant = [
                other
                for other in scene.objects
                if f"{other.colour} {other.shape}".endswith(what) and (not where or other == obj)
            ]
            assert meant == [obj], (phrase, scene)


def test_what_is_held_out_never_comes_with_words() -> None:
    data, wordless = ShapesData(), 0
    for index in range(400):
        sample = data.edit(random.Random(index))
        scenes = [read_picture(picture) for picture in (sample.source, sample.target)]
        if sample.instruction:
            assert not any(scene.held_out for scene in scenes)
        else:
            assert scenes[0] == scenes[1]
            wordless += scenes[0].held_out
    assert wordless > 20
    assert random_edit(random.Random(0), held_out=True).target.held_out


def test_a_scene_of_equal_objects_is_told_apart_by_place() -> None:
    scene = Scene("white", tuple(SceneObject("star", "red", "large", left, 0) for left in (0, 32)))
    assert refer_to(scene.objects[1], scene, random.Random(0)) == "the star in the top"
    assert HELD_OUT_COLOURS["star"] != "red"
