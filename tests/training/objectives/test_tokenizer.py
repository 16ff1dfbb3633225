"""Equal patches get equal tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.training.objectives import TokenizerObjective
from janus_nodes.janus_core.training.objectives.tokenizer import patch_means
from janus_nodes.janus_core.training.shapes.data import ShapesData
from janus_nodes.janus_core.training.shapes.model import SHAPES_RECIPE


def test_only_patches_with_equal_pixels_share_a_mean() -> None:
    pixels = torch.zeros(2, 3, 4, 8)  # patches of 4: two a picture
    pixels[1, :, :, 4:] = 1.0
    pixels[1, 0, 3, 7] = 0.5
    latents = torch.tensor([[[[1.0, 0.0], [3.0, 2.0]]], [[[5.0, 1.0], [9.0, 9.0]]]])
    means = patch_means(latents, pixels)
    assert torch.equal(means[0, 0, 0], torch.tensor([3.0, 1.0]))
    assert torch.equal(means[0, 0, 1], means[0, 0, 0]) and torch.equal(means[1, 0, 0], means[0, 0, 0])
    assert torch.equal(means[1, 0, 1], latents[1, 0, 1])


def test_nearly_equal_codes_are_merged_into_the_most_used_one(golden_root: Path) -> None:
    pipeline = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)
    objective = TokenizerObjective(pipeline, SHAPES_RECIPE.stages[0], ShapesData())
    codes = objective.vq.codebook.weight.data
    codes[3], codes[9] = codes[5] * 1.5, codes[5] + 1e-4
    objective.usage[9] = 7.0
    before = codes.clone()
    objective.finish()
    assert not codes[3].any() and not codes[5].any()
    others = [index for index in range(len(codes)) if index not in (3, 5)]
    assert torch.equal(codes[others], before[others])
    pixels = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert not set(objective.vq.encode(pixels).flatten().tolist()) & {3, 5}
