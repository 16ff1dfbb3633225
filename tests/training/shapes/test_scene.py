"""Random scenes."""

from __future__ import annotations

import random

from janus_nodes.janus_core.training.shapes.scene import (
    CELL_SIZE,
    PICTURE_SIZE,
    Scene,
    SceneObject,
    random_scene,
)


def scenes(count: int, held_out: bool | None = None) -> list[Scene]:
    return [random_scene(random.Random(index), held_out) for index in range(count)]


def test_objects_do_not_overlap() -> None:
    for scene in scenes(200):
        for index, one in enumerate(scene.objects):
            assert 0 <= one.left <= PICTURE_SIZE - CELL_SIZE and 0 <= one.top <= PICTURE_SIZE - CELL_SIZE
            for other in scene.objects[:index]:
                assert abs(one.left - other.left) >= CELL_SIZE or abs(one.top - other.top) >= CELL_SIZE


def test_scenes_are_held_out_on_request() -> None:
    assert not any(scene.held_out for scene in scenes(200, held_out=False))
    assert all(scene.held_out for scene in scenes(200, held_out=True))
    assert Scene("white", (SceneObject("star", "blue"),)).held_out
    assert not Scene("white", (SceneObject("star", "red"),)).held_out
    assert Scene("white", (SceneObject("ring", "red"), SceneObject("ring", "blue"))).held_out
