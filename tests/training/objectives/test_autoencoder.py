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
from torch import Tensor


def noise_shares(objective: AutoencoderObjective, pixels: Tensor) -> Tensor:
    """The mean deviation of each channel's noise over the deviation of its mean."""
    mean, log_variance = objective.vae.moments(pixels)
    return (log_variance / 2).exp().mean(dim=(0, 2, 3)) / mean.std(dim=(0, 2, 3))


@torch.no_grad()
def test_the_end_of_the_stage_scales_latents_and_keeps_pictures(
    golden_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoencoderObjective, "SCALED_WITH", 12)
    pipeline, data = load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32), ShapesData()
    objective = AutoencoderObjective(pipeline, FLOW_SHAPES_RECIPE.stages[0], data)
    pictures = [data.picture(random.Random(index)) for index in range(3)]
    before, _ = reconstruct(pipeline, pictures)
    pixels = pipeline.image_processor.pixels(to_images(pictures))
    before_finish = noise_shares(objective, pixels)
    objective.finish()
    after, _ = reconstruct(pipeline, pictures)
    for one, other in zip(before, after, strict=True):
        assert abs(one.astype(int) - other).max() <= 1
    rng = random.Random("scale")  # the pictures that it has measured
    latents = image_latents(pipeline, to_images([data.picture(rng) for _ in range(12)]))
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=0)
    # The noise of the latents takes the scale of its channel.
    torch.testing.assert_close(noise_shares(objective, pixels), before_finish, rtol=1e-3, atol=0)
