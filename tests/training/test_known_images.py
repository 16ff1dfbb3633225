"""Which images a checkpoint knows, collected from its training data."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, load_pipeline
from janus_nodes.janus_core.processing.known_images import KNOWN_IMAGES, KnownImages, read_known_images
from janus_nodes.janus_core.training import known_images
from janus_nodes.janus_core.training.__main__ import main
from PIL import Image
from support.pictures import write_photograph


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photographs with captions."""
    place = tmp_path / "data"
    place.mkdir()
    for name in ("chelsea", "coffee"):
        write_photograph(name, place).with_suffix(".txt").write_text(name, encoding="utf-8")
    return place


def assert_same(found: KnownImages | None, expected: KnownImages | None) -> None:
    """Checks the settings, and the tiles up to a level of 8 bits, which versions of Pillow may differ in."""
    assert found is not None and expected is not None
    assert (found.threshold, found.description) == (expected.threshold, expected.description)
    distances = torch.cdist(found.tiles, expected.tiles)
    limit = 2 / 255 * found.tiles.shape[1] ** 0.5
    assert distances.amin(dim=0).max() <= limit and distances.amin(dim=1).max() <= limit


@pytest.mark.slow
def test_the_shipped_file_is_what_the_command_writes(tmp_path: Path) -> None:
    checkpoint = tmp_path / "box"
    shutil.copytree(DEMONSTRATION, checkpoint)
    (checkpoint / KNOWN_IMAGES).unlink()
    main(["known-images", str(checkpoint)])
    assert_same(read_known_images(checkpoint), read_known_images(DEMONSTRATION))


def test_a_checkpoint_knows_the_images_of_a_folder(
    folder: Path, golden_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_images, "PICTURES", 20)
    monkeypatch.setattr(known_images, "HELD_OUT", 5)
    checkpoint = folder.parent / "checkpoint"
    shutil.copytree(golden_root / "janus-pro-tiny", checkpoint)
    main(["known-images", str(checkpoint), "--data", str(folder)])
    pipe = load_pipeline(checkpoint, dtype=torch.float32)
    assert pipe.known_images is not None and pipe.known_images.description == "2 images of a folder"
    with Image.open(folder / "coffee.png") as image:
        photograph = torch.from_numpy(np.array(image)).float() / 255
    noise = torch.rand(photograph.shape, generator=torch.Generator().manual_seed(0)).round()
    assert pipe.are_unfamiliar(photograph[None]) == (False,)
    assert pipe.are_unfamiliar(1 - photograph[None]) == (True,)
    assert pipe.are_unfamiliar(noise[None]) == (True,)


def test_a_fine_tuned_checkpoint_no_longer_says_what_it_knows(folder: Path) -> None:
    sizes = ("--steps", "1", "--batch-size", "1", "--dtype", "fp32")
    main(["finetune", str(DEMONSTRATION), str(folder), str(folder.parent / "run"), *sizes])
    assert load_pipeline(folder.parent / "run" / "checkpoint").known_images is None
