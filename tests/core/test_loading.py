"""A checkpoint may carry the guidance and temperature that it draws best with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, TokenSampling, load_pipeline, save_checkpoint
from janus_nodes.janus_core.file_io import read_json
from support.checkpoints import copy_checkpoint, edit_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return copy_checkpoint("janus-pro-tiny", tmp_path / "janus")


def test_a_checkpoint_may_say_how_its_images_are_drawn(tmp_path: Path, folder: Path) -> None:
    published = {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert load_pipeline(folder).image_options() == TokenSampling(**published)
    own = {"guidance_scale": 1.5, "temperature": 0.7}
    edit_json(folder / "processor_config.json", lambda config: config.update(image_sampling=own))
    pipeline = load_pipeline(folder, dtype="fp32")
    assert pipeline.image_options() == TokenSampling(**published | own)
    assert pipeline.image_options(TokenSampling(seed=3)) == TokenSampling(**published | own, seed=3)
    chosen = EditSampling(temperature=0.0, top_k=9, strength=0.5)
    expected = EditSampling(guidance_scale=1.5, temperature=0.0, top_k=9, top_p=1.0, strength=0.5)
    assert pipeline.image_options(chosen) == expected
    save_checkpoint(pipeline, tmp_path / "saved")
    assert load_pipeline(tmp_path / "saved").default_options == pipeline.default_options
    assert read_json(tmp_path / "saved" / "processor_config.json")["image_sampling"] == own


def test_omitted_options_are_the_checkpoints_own(folder: Path) -> None:
    own = {"guidance_scale": 2.0, "temperature": 0.5, "top_k": 30, "top_p": 0.9}
    spelled_out = load_pipeline(folder, dtype="fp32").generate("A cat.", TokenSampling(**own, seed=4)).tokens
    edit_json(folder / "processor_config.json", lambda config: config.update(image_sampling=own))
    omitted = load_pipeline(folder, dtype="fp32").generate("A cat.", TokenSampling(seed=4)).tokens
    assert torch.equal(omitted, spelled_out)


@pytest.mark.parametrize("entry", [{"steps": 3}, {"seed": 3}, {"temperature": -1}, {"temperature": "hot"}, 3])
def test_options_that_images_are_not_drawn_with_are_named(folder: Path, entry: object) -> None:
    edit_json(folder / "processor_config.json", lambda config: config.update(image_sampling=entry))
    expected = r"image_sampling in .*processor_config\.json must hold sampling options by name, .*; fix"
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)


@pytest.mark.parametrize("path", [None, 5, []])
def test_what_is_no_path_is_refused(folder: Path, path: Any) -> None:
    message = r"^{} must be a path, got .*; give a str"
    with pytest.raises(ValueError, match=message.format("path")):
        load_pipeline(path)
    with pytest.raises(ValueError, match=message.format("path")):
        save_checkpoint(load_pipeline(folder), path)
    if path is not None:
        with pytest.raises(ValueError, match=message.format("vae")):
            load_pipeline(folder, vae=path)


@pytest.mark.parametrize(
    "adapters", [None, [3], "ab", ["ab"], [("a",)], [(None, 1.0)], [("a", None)], [("a", "1")], [("a", True)]]
)
def test_adapters_are_pairs(folder: Path, adapters: Any) -> None:
    with pytest.raises(ValueError, match=r"^(adapters|strength) must be .*, got .*; "):
        load_pipeline(folder, adapters=adapters)
