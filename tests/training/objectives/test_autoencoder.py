"""Latents of a trained VAE have the variance that flows expect, and decode as before."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.training.objectives import AutoencoderObjective
from janus_nodes.janus_core.training.pictures import image_latents, reconstruct, to_images
from janus_nodes.janus_core.training.shapes.data import ShapesData
from janus_nodes.janus_core.training.shapes.flow_model import FLOW_SHAPES_RECIPE


def test_the_end_of_the_stage_scales_latents_and_keeps_pictures(
    golden_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoencoderObjective, "SCALED_WITH", 12)
    pipeline, data = load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32), ShapesData()
    objective = AutoencoderObjective(pipeline, FLOW_SHAPES_RECIPE.stages[0], data)
    pictures = [data.picture(random.Random(index)) for index in range(3)]
    before, _ = reconstruct(pipeline, pictures)
    pixels = pipeline.image_processor.pixels(to_images(pictures))
    ratio = [values.exp().sqrt() / mean.std() for mean, values in [objective.vae.moments(pixels)]]
    objective.finish()
    after, _ = reconstruct(pipeline, pictures)
    for one, other in zip(before, after, strict=True):
        assert abs(one.astype(int) - other).max() <= 1
    rng = random.Random("scale")  # the pictures that it has measured
    latents = image_latents(pipeline, to_images([data.picture(rng) for _ in range(12)]))
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=0)
    # The standard deviation of the noise changes with the scale of its channel.
    (again,) = [values.exp().sqrt() / mean.std() for mean, values in [objective.vae.moments(pixels)]]
    assert again.shape == ratio[0].shape
