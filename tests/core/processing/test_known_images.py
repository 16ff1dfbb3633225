"""Which images the demonstration checkpoint takes for its own: all of its world, and hardly any other.

The sets are generated here: the file's tiles come from other scenes, and its threshold from what JPEG,
resizing and redrawing do to them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from janus_nodes.janus_core import DEMONSTRATION, EditSampling, JanusPipeline, TokenSampling
from janus_nodes.janus_core.processing.known_images import (
    KNOWN_IMAGES,
    KnownImages,
    read_known_images,
    write_known_images,
)
from janus_nodes.janus_core.training.pictures import to_images, to_pictures
from support.unfamiliar import known_pictures, photographs, rendered


@pytest.fixture(scope="module")
def known() -> KnownImages:
    content = read_known_images(DEMONSTRATION)
    assert content is not None
    return content


def levels(pipe: JanusPipeline, known: KnownImages, pictures: Sequence[np.ndarray]) -> list[float]:
    """Distances of pictures in levels of 8 bits."""
    return [
        float(known.distances(pipe.image_processor.pixel_values([image]))) * 127.5
        for image in to_images([*pictures])
    ]


def flags(pipe: JanusPipeline, pictures: Sequence[np.ndarray]) -> list[bool]:
    return [pipe.are_unfamiliar(image[None])[0] for image in to_images([*pictures])]


def test_no_picture_of_its_world_is_unfamiliar(shapes_pipe: JanusPipeline, known: KnownImages) -> None:
    kinds = known_pictures(40, "of its world")
    assert sum(map(len, kinds.values())) >= 500
    for kind, pictures in kinds.items():
        assert max(levels(shapes_pipe, known, pictures)) < 5, kind  # the threshold is 6


@pytest.mark.slow
def test_nothing_that_it_draws_with_its_own_settings_is_unfamiliar(shapes_pipe: JanusPipeline) -> None:
    scenes = torch.stack(to_images(known_pictures(25, "redrawn")["scenes"]))
    decoded = shapes_pipe.decode_tokens(shapes_pipe.encode_tokens(scenes))
    drawn = [
        shapes_pipe.generate(prompt, replace(options, batch_size=10, seed=1000)).images
        for prompt in ("a red star", "three green triangles", "a blue ring right of a pink square")
        for options in (shapes_pipe.image_options(), TokenSampling(guidance_scale=1.0))
    ]
    mask = torch.zeros(96, 96)
    mask[:60, 32:] = 1
    options = EditSampling(guidance_scale=1.5, temperature=0.7, top_p=0.8, seed=3)
    edited = shapes_pipe.edit(scenes[::4], "a yellow circle and a green cross", options, mask=mask).images
    pictures = to_pictures(torch.cat((decoded, *drawn, edited)))
    assert len(pictures) >= 180
    assert not any(flags(shapes_pipe, pictures))


def test_nearly_all_photographs_are_unfamiliar(shapes_pipe: JanusPipeline) -> None:
    found = flags(shapes_pipe, photographs(8, "parts"))
    assert len(found) >= 100 and sum(found) >= 0.95 * len(found)


def test_nearly_all_faces_are_unfamiliar(shapes_pipe: JanusPipeline) -> None:
    """Faces and other parts of photographs, which had no part in choosing the method or the threshold."""
    grey = (skimage.data.lfw_subset() * 255).astype(np.uint8)
    found = flags(shapes_pipe, np.repeat(grey[..., None], 3, axis=3))
    assert len(found) == 200 and sum(found) >= 0.95 * len(found)


def test_all_rendered_pictures_are_unfamiliar(shapes_pipe: JanusPipeline) -> None:
    kinds = rendered(15, "rendered")
    assert sum(map(len, kinds.values())) >= 100
    for kind, pictures in kinds.items():
        assert all(flags(shapes_pipe, pictures)), kind


def test_the_distance_is_that_of_the_nearest_tiles() -> None:
    flat = torch.tensor([[-1.0], [0.0], [0.5]]).expand(3, 48)
    known = KnownImages(flat, 1, 0.1, "three greys")
    greys = torch.tensor([0.5, 0.75, -0.9]).view(3, 1, 1, 1).expand(3, 3, 8, 8)
    torch.testing.assert_close(known.distances(greys), torch.tensor([0.0, 0.25, 0.1]), rtol=0, atol=1e-6)
    assert known.are_unfamiliar(greys[:2]) == (False, True)
    # Half of the tiles at a distance of 0.36: (0.5 * 0.6) squared.
    halves = torch.zeros(1, 3, 16, 16)
    halves[..., 8:] = 0.86
    both = replace(known, tiles_per_side=2)
    torch.testing.assert_close(both.distances(halves), torch.tensor([0.09]), rtol=0, atol=1e-6)


def test_the_file_is_read_as_it_was_written_and_absent_is_none(tmp_path: Path, known: KnownImages) -> None:
    assert read_known_images(tmp_path) is None
    write_known_images(known, tmp_path)
    again = read_known_images(tmp_path)
    assert again is not None and torch.equal(again.tiles, known.tiles)
    settings = vars(again).keys() - {"tiles"}
    assert all(vars(again)[name] == vars(known)[name] for name in settings)
    assert (tmp_path / KNOWN_IMAGES).read_bytes() == (DEMONSTRATION / KNOWN_IMAGES).read_bytes()
    assert (tmp_path / KNOWN_IMAGES).stat().st_size < 200_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tiles": None}, r"known_images.json must hold tiles, .* write it again, or remove it"),
        ({"tiles": "!"}, "must hold tiles, tiles_per_side, threshold and description"),
        ({"tiles": "AAAA"}, "must hold tiles, tiles_per_side, threshold and description"),
        ({"tiles": ""}, "at least one tile and a tiles_per_side from 1, got 0 and 6"),
        ({"tiles_per_side": 0}, "at least one tile and a tiles_per_side from 1, got 1155 and 0"),
        ({"threshold": "high"}, "got: could not convert string to float: 'high'"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = json.loads((DEMONSTRATION / KNOWN_IMAGES).read_text(encoding="utf-8"))
    (tmp_path / KNOWN_IMAGES).write_text(json.dumps(content | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_known_images(tmp_path)
