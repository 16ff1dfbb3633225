"""Pictures read back into scenes."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from janus_nodes.janus_core.training.shapes.drawing import (
    connected_areas,
    draw_scene,
    found_share,
    read_picture,
)
from janus_nodes.janus_core.training.shapes.scene import PICTURE_SIZE, Scene, random_scene
from PIL import Image, ImageFilter


def scenes(count: int) -> list[Scene]:
    return [random_scene(random.Random(index), None) for index in range(count)]


def test_the_detector_reads_what_was_drawn() -> None:
    drawn = scenes(300)
    read = [read_picture(draw_scene(scene)) for scene in drawn]
    whole = [
        got.background == scene.background
        and len(got.objects) == len(scene.objects)
        and found_share(got, scene) == 1.0
        for got, scene in zip(read, drawn, strict=True)
    ]
    assert np.mean(whole) >= 0.99


def test_the_detector_reads_blurred_and_noisy_pictures() -> None:
    drawn = scenes(100)
    noise = np.random.default_rng(0)
    shares = []
    for scene in drawn:
        blurred = Image.fromarray(draw_scene(scene)).filter(ImageFilter.GaussianBlur(0.8))
        noisy = np.asarray(blurred, np.float32) + noise.normal(0, 6, (PICTURE_SIZE, PICTURE_SIZE, 3))
        shares.append(found_share(read_picture(noisy.clip(0, 255).astype(np.uint8)), scene))
    assert np.mean(shares) >= 0.99


def test_an_unfamiliar_outline_is_unknown() -> None:
    picture = np.full((PICTURE_SIZE, PICTURE_SIZE, 3), 250, np.uint8)
    picture[10:13, 10:60] = picture[10:60, 57:60] = (220, 40, 40)
    assert [obj.shape for obj in read_picture(picture).objects] == ["unknown"]


@pytest.mark.parametrize("density", [0.3, 0.5, 0.6, 0.9])
def test_connected_areas_are_those_of_a_flood_fill(density: float) -> None:
    mask = np.random.default_rng(0).random((24, 24)) < density
    expected, unvisited = [], {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while unvisited:
        area, edge = set(), [min(unvisited)]
        while edge:
            y, x = edge.pop()
            if (y, x) in unvisited:
                unvisited.remove((y, x))
                area.add((y, x))
                edge += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        expected.append(area)
    areas = [{(int(y), int(x)) for y, x in np.argwhere(area)} for area in connected_areas(mask)]
    assert areas == expected


def test_a_missing_scipy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"needs the package scipy, got: .*pip install scipy"):
        connected_areas(np.zeros((2, 2), bool))
