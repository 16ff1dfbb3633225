"""Inpainting masks: their checks, their tokens, and the pixels of tokens."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from janus_nodes.janus_core.processing.images import Frame, ImageProcessor
from janus_nodes.janus_core.processing.masks import (
    checked_masks,
    fit_masks,
    masked_tokens,
    pixels_inside_tokens,
    remove_letterbox,
    selects_any,
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


def test_a_mask_of_another_size_is_resized_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    masks = torch.zeros(1, 10, 20)
    masks[0, 3, 7] = 1
    with caplog.at_level(logging.WARNING):
        assert fit_masks(masks, 5, 5).nonzero().tolist() == [[0, 1, 1]]
    assert "mask of 20 x 10 pixels is resized to the image's 5 x 5" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(fit_masks(masks, 10, 20), masks)
    assert caplog.text == ""


@pytest.mark.parametrize("size", [(48, 64), (31, 7), (1000, 4000)])
def test_a_resized_mask_has_the_full_value_wherever_it_is_overlapped(size: tuple[int, int]) -> None:
    masks = torch.zeros(2, 1500, 2000)
    masks[0, 700, 900] = 0.75  # the other one is empty, and stays so
    fitted = fit_masks(masks, *size)
    rows, columns = (
        [i for i in range(new) if i * old < (place + 1) * new and (i + 1) * old > place * new]
        for new, old, place in ((size[0], 1500, 700), (size[1], 2000, 900))
    )
    expected = torch.zeros(2, *size)
    expected[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0.75
    assert torch.equal(fitted, expected)


def test_numbers_outside_of_0_to_1_are_clipped_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert checked_masks(torch.tensor([[-1.0, 0.5, 4.0]]), 1).tolist() == [[[0.0, 0.5, 1.0]]]
    assert "mask has values from -1 to 4, which are clipped to 0 to 1" in caplog.text


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64], ids=str)
def test_of_whole_numbers_any_above_0_selects(dtype: torch.dtype, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        mask = torch.tensor([[0, 1, 255]]).to(dtype)
        assert checked_masks(mask, 1).tolist() == [[[0.0, 1.0, 1.0]]]
    assert caplog.text == ""


def test_masks_may_have_any_of_three_layouts() -> None:
    mask = torch.rand(3, 4, 5)
    for given, count in ((mask[0], 1), (mask[:1], 1), (mask, 3), (mask[:, None], 3), (mask[:1, None], 1)):
        assert torch.equal(checked_masks(given, 3), mask[:count])
        assert checked_masks(given.double(), 3).dtype is torch.float32


def test_masks_that_select_nothing_are_empty() -> None:
    masks = torch.zeros(4, 6, 6)
    masks[1, 2, 2] = 1e-3  # changes no 8-bit value
    masks[2, 2, 2] = 3e-3
    masks[3] = 1.0
    assert selects_any(masks).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1.0]], r"mask must be a tensor \[H, W\], got list; convert it"),
        (torch.zeros(2, 2, 4, 4), r"mask must be one mask .*, got shape \[2, 2, 4, 4\]; pass one of these"),
        (torch.zeros(4), r"mask must be one mask .*, got shape \[4\]"),
        (torch.zeros(0, 4), r"mask must be one mask .*, got shape \[0, 4\]"),
        (torch.zeros(2, 4, 4), r"mask must be one mask, or one for each image \(3 here\), got 2; choose"),
        (torch.full((4, 4), float("nan")), "mask must contain finite numbers, got NaN or infinity; check"),
        (torch.full((4, 4), float("inf")), "mask must contain finite numbers, got NaN or infinity; check"),
    ],
    ids=range(7),
)
def test_invalid_masks_are_refused(mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_masks(mask, 3)


def test_remove_letterbox_restores_size_and_content() -> None:
    images = torch.rand(2, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(remove_letterbox(images, Frame(0, 16, 64, 32), 32, 64), images[:, 16:48])
    larger = remove_letterbox(images, Frame(0, 16, 64, 32), 100, 200)
    assert larger.shape == (2, 100, 200, 3)
    assert float(larger.min()) >= 0.0
    assert float(larger.max()) <= 1.0
    flat = remove_letterbox(torch.full((1, SIDE, SIDE, 3), 0.25), Frame(10, 0, 30, 64), 7, 5)
    torch.testing.assert_close(flat, torch.full((1, 7, 5, 3), 0.25))
