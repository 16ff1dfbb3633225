"""Pictures to what the body sees, and to the tokens that it draws."""

from __future__ import annotations

import random

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.training.objectives import unified
from janus_nodes.janus_core.training.objectives.contrast import pooled
from janus_nodes.janus_core.training.pictures import to_images
from janus_nodes.janus_core.training.recipe import Stage
from janus_nodes.janus_core.training.samples import Region
from janus_nodes.janus_core.training.shapes.data import WorldData
from janus_nodes.janus_core.training.vision import image_tokens


def test_tokens_do_not_depend_on_what_products_are_computed_in(pipe: JanusPipeline) -> None:
    images = to_images([WorldData().picture(random.Random(index)) for index in range(2)])
    expected = pipe.encode_tokens(torch.stack(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(image_tokens(pipe, images), expected)
        pixels = pipe.image_processor.pixels(images)
        assert not torch.equal(pipe.model.generation.encode(pixels), expected)  # what is to be avoided


def test_a_region_is_the_mean_of_the_patches_in_its_box() -> None:
    features = torch.arange(2 * 16.0).view(2, 16, 1)  # two pictures of 4 x 4 patches
    boxes = ((0.0, 0.0, 1.0, 1.0), (0.5, 0.0, 1.0, 0.5), (0.0, 0.75, 0.25, 1.0), (0.4, 0.4, 0.45, 0.45))
    regions = [Region(index % 2, ("any",), box) for index, box in enumerate(boxes)]
    expected = [7.5, 16 + (2 + 3 + 6 + 7) / 4, 12.0, 16 + 5.0]
    assert pooled(features, regions).flatten().tolist() == expected


@torch.no_grad()
def test_rows_cost_the_same_in_groups_and_alone(pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for together in (1, 3, 16):
        monkeypatch.setattr(unified, "_TOGETHER", together)
        objective = unified.UnifiedObjective(
            pipe, Stage("x", "unified", (), 1, 12, 1e-3, shares=(1, 1, 1)), WorldData()
        )
        losses.append(objective.losses(0, random.Random(5)))
    for other in losses[1:]:
        assert {key: float(value) for key, value in other.items()} == pytest.approx(
            {key: float(value) for key, value in losses[0].items()}, rel=1e-5
        )
