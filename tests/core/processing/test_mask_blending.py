"""Blending under a mask: feathered borders, computed around the mask only, and transparency."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from janus_nodes.janus_core.processing.masks import (
    FEATHER,
    blend,
    bounding_box,
    feather_radius,
    feather_weights,
)
from torch import Tensor

SIDE = 64


def weights_of(area: Tensor) -> Tensor:
    """Feathered weights of an area [H, W], computed around its bounding box only."""
    weights, box = torch.zeros(area.shape), bounding_box(area)
    weights[box] = feather_weights(area[box], feather_radius(*area.shape, SIDE))
    return weights


def plain_feather(area: Tensor, radius: int) -> Tensor:
    """The definition of the weights, on the whole image and in float32."""

    def dilate(values: Tensor, radius: int) -> Tensor:
        return F.max_pool2d(values, 2 * radius + 1, stride=1, padding=radius)

    inside = area.float()[None, None]
    levels = inside.clone()
    for _ in range(FEATHER - 1):
        inside = -dilate(-inside, radius)
        levels += inside
    return (levels / dilate(levels, FEATHER * radius).clamp(min=1.0))[0, 0]


@pytest.mark.parametrize("size", [(64, 64), (40, 70), (150, 97), (9, 5), (7, 200), (1, 1)])
def test_weights_around_the_bounding_box_equal_those_of_the_whole(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(size[1])
    areas = [torch.rand(size, generator=generator) < share for share in (0.0, 0.01, 0.3, 0.9, 0.999, 1.0)]
    for _ in range(30):  # boxes, many of which touch a border
        area = torch.zeros(size, dtype=torch.bool)
        (top, bottom), (left, right) = (
            torch.randint(length + 1, (2,), generator=generator).sort().values.tolist() for length in size
        )
        area[top:bottom, left:right] = True
        areas += [area, area ^ areas[3]]
    for area in areas:
        assert torch.equal(weights_of(area), plain_feather(area, feather_radius(*size, SIDE)))


def test_weights_rise_from_the_border_inwards_and_are_0_outside() -> None:
    area = torch.zeros(64, 64, dtype=torch.bool)
    area[10:40, 20:64] = True
    weights = weights_of(area)
    assert bool((weights[~area] == 0).all())
    steps = [(step + 1) / FEATHER for step in range(FEATHER)]
    assert weights[25, 20 : 20 + FEATHER].tolist() == steps
    assert weights[10 : 10 + FEATHER, 45].tolist() == steps
    # The picture's own edge is no seam.
    assert bool((weights[20:30, 30:] == 1).all())


def test_larger_images_are_feathered_over_more_pixels() -> None:
    area = torch.zeros(320, 320, dtype=torch.bool)
    area[:, 100:] = True
    weights = weights_of(area)[0]
    assert weights[99] == 0
    assert 0 < float(weights[100]) < float(weights[100 + 2 * FEATHER]) < 1
    assert bool((weights[100 + 5 * FEATHER :] == 1).all())


def test_narrow_areas_reach_full_weight_and_full_or_empty_ones_are_not_feathered() -> None:
    line = torch.zeros(64, 64, dtype=torch.bool)
    line[30] = True
    assert bool((weights_of(line)[30] == 1).all())
    assert bool((weights_of(torch.ones(64, 64, dtype=torch.bool)) == 1).all())
    assert bool((weights_of(torch.zeros(64, 64, dtype=torch.bool)) == 0).all())


def test_the_bounding_box_includes_the_pixels_next_to_an_area() -> None:
    area = torch.zeros(20, 30, dtype=torch.bool)
    assert area[bounding_box(area)].numel() == 0
    area[3, 7:9] = True
    assert bounding_box(area) == (slice(2, 5), slice(6, 10))
    area[:] = True
    assert area[bounding_box(area)].shape == (20, 30)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_blending_keeps_the_source_exactly_at_weight_0(channels: int) -> None:
    source, drawn = torch.rand(5, 6, channels), torch.rand(5, 6, 3)
    weights = torch.zeros(5, 6)
    weights[2:, :3], weights[2:, 3:] = 1.0, 0.25
    blended = blend(source, drawn, weights)
    colours = source[..., :3].expand(-1, -1, 3)
    assert blended.shape == (5, 6, 4 if channels == 4 else 3)
    assert torch.equal(blended[:2], source[:2].expand(-1, -1, blended.shape[-1]))
    torch.testing.assert_close(blended[2:, :3, :3], drawn[2:, :3])
    if channels == 4:
        assert bool((blended[2:, :3, 3] == 1).all())
        # On any ground, the result is the drawn pixel over the source.
        for ground in (0.0, 1.0):
            before = torch.lerp(torch.full((5, 6, 3), ground), colours, source[..., 3:])
            after = torch.lerp(torch.full((5, 6, 3), ground), blended[..., :3], blended[..., 3:])
            torch.testing.assert_close(after[2:, 3:], torch.lerp(before, drawn, weights[..., None])[2:, 3:])
    else:
        torch.testing.assert_close(blended[2:, 3:], colours[2:, 3:] * 0.75 + drawn[2:, 3:] * 0.25)


def test_a_thin_stroke_has_the_same_weights_with_and_without_a_wide_area() -> None:
    stroke = torch.zeros(120, 200, dtype=torch.bool)
    stroke[:, 10:13] = True
    both = stroke.clone()
    both[20:100, 100:180] = True
    alone, beside = (weights_of(area) for area in (stroke, both))
    assert torch.equal(alone[:, :40], beside[:, :40]) and float(beside[60, 11]) == 1.0
    assert float(beside[60, 140]) == 1.0 and 0.0 < float(beside[60, 100]) < 0.5
