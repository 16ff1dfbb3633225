"""Pictures of a training folder: read as the pipeline reads images, in 8 bits."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from janus_nodes.janus_core.processing.image_files import BACKGROUNDS
from janus_nodes.janus_core.processing.images import GREY
from janus_nodes.janus_core.training.folder_data import FolderData
from PIL import Image
from support.image_files import SHADES, Sample, samples

DEEP = [
    sample
    for sample in samples()
    if sample.name in ("16.png", "16 big.tif", "16.pgm", "float 1.tif", "cmyk.tif")
]


def folder_of(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    (folder / name).with_suffix(".txt").write_text("a picture", encoding="utf-8")
    return folder


@pytest.mark.parametrize("sample", DEEP, ids=lambda sample: sample.name)
def test_pictures_of_any_mode_keep_their_values(tmp_path: Path, sample: Sample) -> None:
    picture = FolderData(folder_of(tmp_path, sample.name, sample.content)).picture(random.Random(0))
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture / 255, sample.expected, rtol=0, atol=sample.tolerance + 0.5 / 255)
    assert len(np.unique(picture)) > SHADES.size / 2


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_what_is_transparent_shows_the_background(tmp_path: Path, name: str) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("nothing", encoding="utf-8")
    background = BACKGROUNDS[name] or GREY
    picture = FolderData(tmp_path, background).picture(random.Random(0))
    assert picture.shape == (8, 8, 3)
    assert (picture == np.array(background) * 255).all()
