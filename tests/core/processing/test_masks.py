"""Inpainting masks: their tokens, the pixels of tokens, and feathered borders."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from janus_nodes.janus_core.processing.images import Frame, ImageProcessor
from janus_nodes.janus_core.processing.masks import (
    FEATHER,
    feather_weights,
    fit_mask,
    masked_tokens,
    pixels_inside_tokens,
    remove_letterbox,
)

SIDE, GRID = 64, 4


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((64, 64), Frame(0, 0, 64, 64)),
        ((128, 64), Frame(0, 16, 64, 32)),
        ((30, 90), Frame(21, 0, 21, 64)),
        ((1000, 10), Frame(0, 25, 64, 14)),
    ],
)
def test_frame_is_where_the_letterbox_puts_an_image(size: tuple[int, int], frame: Frame) -> None:
    processor = ImageProcessor(SIDE)
    assert processor.frame(*size) == frame
    inside = torch.from_numpy(processor.letterbox(torch.ones(size[1], size[0], 3)).copy())[..., 0] == 255
    assert inside.sum() == frame.width * frame.height
    assert bool(inside[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width].all())


@pytest.mark.parametrize("size", [(64, 64), (40, 70), (200, 120), (9, 5), (7, 90)])
def test_masked_tokens_are_those_that_overlap_a_masked_pixel(size: tuple[int, int]) -> None:
    height, width = size
    frame = ImageProcessor(SIDE).frame(width, height)
    generator = torch.Generator().manual_seed(height)
    for _ in range(20):
        y, x = (int(torch.randint(length, (1,), generator=generator)) for length in size)
        area = torch.zeros(size, dtype=torch.bool)
        area[y, x] = True
        # A pixel is a rectangle of the square, up to but without its far edges.
        left, right = (frame.left + edge * frame.width / width for edge in (x, x + 1))
        top, bottom = (frame.top + edge * frame.height / height for edge in (y, y + 1))
        expected = [
            left < 16 * column + 16 and right > 16 * column and top < 16 * row + 16 and bottom > 16 * row
            for row in range(GRID)
            for column in range(GRID)
        ]
        assert masked_tokens(area, frame, GRID, SIDE).tolist() == expected


def test_a_full_mask_selects_all_tokens_and_an_empty_one_none() -> None:
    frame = ImageProcessor(SIDE).frame(64, 20)
    assert bool(masked_tokens(torch.ones(20, 64, dtype=torch.bool), frame, GRID, SIDE).all())
    assert not bool(masked_tokens(torch.zeros(20, 64, dtype=torch.bool), frame, GRID, SIDE).any())


@pytest.mark.parametrize("size", [(64, 64), (40, 70), (200, 120), (9, 5)])
def test_pixels_inside_tokens_overlap_no_other_token(size: tuple[int, int]) -> None:
    frame = ImageProcessor(SIDE).frame(size[1], size[0])
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        tokens = torch.rand(GRID**2, generator=generator) < 0.5
        area = pixels_inside_tokens(tokens, frame, *size, SIDE)
        for y, x in ((0, 0), (size[0] // 2, size[1] // 3), (size[0] - 1, size[1] - 1), (size[0] // 3, 0)):
            pixel = torch.zeros(size, dtype=torch.bool)
            pixel[y, x] = True
            touched = masked_tokens(pixel, frame, GRID, SIDE)
            assert bool(area[y, x]) is not bool((touched & ~tokens).any())


def test_every_masked_pixel_lies_inside_the_masked_tokens() -> None:
    frame = ImageProcessor(SIDE).frame(70, 40)
    area = torch.rand(40, 70, generator=torch.Generator().manual_seed(2)) < 0.01
    tokens = masked_tokens(area, frame, GRID, SIDE)
    assert bool(pixels_inside_tokens(tokens, frame, 40, 70, SIDE)[area].all())


def test_weights_rise_from_the_border_inwards_and_are_0_outside() -> None:
    area = torch.zeros(64, 64, dtype=torch.bool)
    area[10:40, 20:64] = True
    weights = feather_weights(area, SIDE)
    assert bool((weights[~area] == 0).all())
    steps = [(step + 1) / FEATHER for step in range(FEATHER)]
    assert weights[25, 20 : 20 + FEATHER].tolist() == steps
    assert weights[10 : 10 + FEATHER, 45].tolist() == steps
    # The picture's own edge is no seam.
    assert bool((weights[20:30, 30:] == 1).all())


def test_larger_images_are_feathered_over_more_pixels() -> None:
    area = torch.zeros(320, 320, dtype=torch.bool)
    area[:, 100:] = True
    weights = feather_weights(area, SIDE)[0]
    assert weights[99] == 0
    assert 0 < float(weights[100]) < float(weights[100 + 2 * FEATHER]) < 1
    assert bool((weights[100 + 5 * FEATHER :] == 1).all())


def test_narrow_areas_reach_full_weight_and_full_or_empty_ones_are_not_feathered() -> None:
    line = torch.zeros(64, 64, dtype=torch.bool)
    line[30] = True
    assert bool((feather_weights(line, SIDE)[30] == 1).all())
    assert bool((feather_weights(torch.ones(64, 64, dtype=torch.bool), SIDE) == 1).all())
    assert bool((feather_weights(torch.zeros(64, 64, dtype=torch.bool), SIDE) == 0).all())


def test_a_mask_of_another_size_is_resized_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    mask = torch.zeros(10, 20)
    mask[3, 7] = 1
    with caplog.at_level(logging.WARNING):
        fitted = fit_mask(mask, 5, 5)
        assert fitted.nonzero().tolist() == [[1, 1]]
    assert "mask of 20 x 10 pixels is resized to the image's 5 x 5" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(fit_mask(mask[None], 10, 20), mask)
    assert caplog.text == ""


def test_masks_are_clamped_to_0_to_1() -> None:
    assert fit_mask(torch.tensor([[-1.0, 0.3, 4.0]]), 1, 3).tolist() == [[0.0, pytest.approx(0.3), 1.0]]
    assert fit_mask(torch.tensor([[True, False]]), 1, 2).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1.0]], r"mask must be a tensor \[H, W\], got list; convert it"),
        (torch.zeros(2, 4, 4), r"mask must be one mask \[H, W\], got shape \[2, 4, 4\]; choose one"),
        (torch.zeros(1, 1, 4, 4), r"mask must be one mask \[H, W\], got shape \[1, 1, 4, 4\]"),
        (torch.zeros(0, 4), r"mask must be one mask \[H, W\], got shape \[0, 4\]"),
        (torch.full((4, 4), float("nan")), "mask must contain finite numbers, got NaN or infinity; check"),
    ],
    ids=range(5),
)
def test_invalid_masks_are_refused(mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_mask(mask, 4, 4)


def test_remove_letterbox_restores_size_and_content() -> None:
    images = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(remove_letterbox(images, Frame(0, 16, 64, 32), 32, 64), images[:, 16:48])
    larger = remove_letterbox(images, Frame(0, 16, 64, 32), 100, 200)
    assert larger.shape == (2, 100, 200, 3)
    assert float(larger.min()) >= 0.0
    assert float(larger.max()) <= 1.0
    flat = remove_letterbox(torch.full((1, SIDE, SIDE, 3), 0.25), Frame(10, 0, 30, 64), 7, 5)
    torch.testing.assert_close(flat, torch.full((1, 7, 5, 3), 0.25))


def test_a_thin_stroke_has_the_same_weights_with_and_without_a_wide_area() -> None:
    stroke = torch.zeros(120, 200, dtype=torch.bool)
    stroke[:, 10:13] = True
    both = stroke.clone()
    both[20:100, 100:180] = True
    alone, beside = (feather_weights(area, 64) for area in (stroke, both))
    assert torch.equal(alone[:, :40], beside[:, :40]) and float(beside[60, 11]) == 1.0
    assert float(beside[60, 140]) == 1.0 and 0.0 < float(beside[60, 100]) < 0.5
