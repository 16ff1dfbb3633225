"""Features of regions."""

from __future__ import annotations

import torch
from janus_nodes.janus_core.training.objectives.contrast import pool_regions
from janus_nodes.janus_core.training.samples import Region


def test_a_region_is_the_mean_of_the_patches_in_its_box() -> None:
    features = torch.arange(2 * 16.0).view(2, 16, 1)  # two pictures of 4 x 4 patches
    boxes = ((0.0, 0.0, 1.0, 1.0), (0.5, 0.0, 1.0, 0.5), (0.0, 0.75, 0.25, 1.0), (0.4, 0.4, 0.45, 0.45))
    regions = [Region(index % 2, ("any",), box) for index, box in enumerate(boxes)]
    expected = [7.5, 16 + (2 + 3 + 6 + 7) / 4, 12.0, 16 + 5.0]
    assert pool_regions(features, regions).flatten().tolist() == expected
