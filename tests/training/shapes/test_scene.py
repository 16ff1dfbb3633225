"""Scenes by lot, and their pictures read back."""

from __future__ import annotations

import random

import numpy as np
from janus_nodes.janus_core.training.shapes.draw import draw_scene
from janus_nodes.janus_core.training.shapes.read import read_picture, same_things
from janus_nodes.janus_core.training.shapes.scene import BOX, SIDE, Scene, Thing, random_scene
from PIL import Image, ImageFilter


def scenes(count: int, held_out: bool | None = None) -> list[Scene]:
    return [random_scene(random.Random(index), held_out) for index in range(count)]


def test_the_detector_reads_what_was_drawn() -> None:
    drawn = scenes(300)
    read = [read_picture(draw_scene(scene)) for scene in drawn]
    whole = [
        got.background == scene.background
        and len(got.things) == len(scene.things)
        and same_things(got, scene) == 1.0
        for got, scene in zip(read, drawn, strict=True)
    ]
    assert np.mean(whole) >= 0.99


def test_the_detector_reads_blurred_and_noisy_pictures() -> None:
    drawn = scenes(100)
    noise = np.random.default_rng(0)
    shares = []
    for scene in drawn:
        blurred = Image.fromarray(draw_scene(scene)).filter(ImageFilter.GaussianBlur(0.8))
        noisy = np.asarray(blurred, np.float32) + noise.normal(0, 6, (SIDE, SIDE, 3))
        shares.append(same_things(read_picture(noisy.clip(0, 255).astype(np.uint8)), scene))
    assert np.mean(shares) >= 0.99


def test_an_outline_like_none_is_unknown() -> None:
    picture = np.full((SIDE, SIDE, 3), 250, np.uint8)
    picture[10:13, 10:60] = picture[10:60, 57:60] = (220, 40, 40)
    assert [thing.shape for thing in read_picture(picture).things] == ["unknown"]


def test_objects_do_not_share_room() -> None:
    for scene in scenes(200):
        for index, one in enumerate(scene.things):
            assert 0 <= one.left <= SIDE - BOX and 0 <= one.top <= SIDE - BOX
            for other in scene.things[:index]:
                assert abs(one.left - other.left) >= BOX or abs(one.top - other.top) >= BOX


def test_scenes_are_held_out_as_asked() -> None:
    assert not any(scene.held_out for scene in scenes(200, held_out=False))
    assert all(scene.held_out for scene in scenes(200, held_out=True))
    assert Scene("white", (Thing("star", "blue"),)).held_out
    assert not Scene("white", (Thing("star", "red"),)).held_out
    assert Scene("white", (Thing("ring", "red"), Thing("ring", "blue"))).held_out
