"""A fine-tune of the flow model draws what it was shown."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from janus_nodes.janus_core import FLOW_DEMONSTRATION, load_pipeline, missing_files
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.janus_core.training.pictures import generate_pictures
from janus_nodes.janus_core.training.shapes.drawing import draw_scene, read_picture
from janus_nodes.janus_core.training.shapes.scene import SceneObject, arrange
from PIL import Image

# A name that the model does not know, for a pair of shape and colour that was held out of its training.
CAPTION, SHOWN = "a zorb", ("star", "blue")
COUNT = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Fifty pictures with the same caption."""
    place, rng = tmp_path / "data", random.Random(0)
    place.mkdir()
    for index in range(50):
        scene = arrange([SceneObject(*SHOWN)], rng)
        Image.fromarray(draw_scene(scene)).save(place / f"{index}.png")
        (place / f"{index}.txt").write_text(CAPTION, encoding="utf-8")
    return place


def drawn(checkpoint: Path) -> int:
    """How many of `COUNT` pictures of the caption show what it stands for."""
    pipeline = load_pipeline(checkpoint, dtype=torch.float32)
    options = replace(pipeline.image_options(), batch_size=COUNT)
    scenes = [read_picture(picture) for picture in generate_pictures(pipeline, CAPTION, options)]
    return sum([(obj.shape, obj.colour) for obj in scene.objects] == [SHOWN] for scene in scenes)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_files(FLOW_DEMONSTRATION)), reason="the flow demonstration has no weights")
@pytest.mark.parametrize("lora", ["0", "16"])
def test_a_flow_model_draws_what_it_was_shown(lora: str, folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    sizes = ("--steps", "80", "--batch-size", "8", "--learning-rate", "1e-3", "--lora", lora)
    main(["finetune", str(FLOW_DEMONSTRATION), str(folder), str(run), *sizes])
    losses = [json.loads(line)["generation"] for line in (run / "metrics.jsonl").open()]
    assert fmean(losses[-20:]) < fmean(losses[:20])
    assert drawn(FLOW_DEMONSTRATION) == 0
    assert drawn(run / "checkpoint") >= COUNT // 2
