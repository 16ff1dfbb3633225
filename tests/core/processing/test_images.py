"""Image preprocessing: the reference's pixels, bit by bit, and pictures of any kind and size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from janus_nodes.janus_core.processing.images import (
    GREY,
    ImageProcessor,
    compose_on,
    to_images,
    to_pillow,
)
from torch import Tensor

PILLOW = int(PIL.__version__.split(".")[0])

PICTURES = ("landscape_rgb", "portrait_rgba", "tall_grey", "tiny_5x3", "large_1301x867", "square_64")


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def skip_before_pillow_13(name: str) -> None:
    """Skips what was recorded with Pillow 13, which resizes four pixels of one picture to other bytes."""
    if name == "tall_grey" and PILLOW < 13:
        pytest.skip("recorded with Pillow 13, whose resizing of this picture differs from earlier versions'")


@pytest.mark.parametrize("name", PICTURES)
def test_letterboxed_bytes_equal_the_reference(
    recorded: Any, picture: Callable[[str], Tensor], name: str
) -> None:
    skip_before_pillow_13(name)
    # The reference ignores alpha.
    letterboxed = ImageProcessor(64).letterbox(picture(name)[..., :3]).transpose(2, 0, 1)
    assert torch.equal(torch.from_numpy(letterboxed.copy()), recorded.tensor(f"preprocess/{name}.uint8_chw"))


@pytest.mark.parametrize("name", ("landscape_rgb", "tall_grey", "tiny_5x3"))
def test_normalised_pixels_equal_the_reference_to_the_last_bit(
    recorded: Any, picture: Callable[[str], Tensor], name: str
) -> None:
    skip_before_pillow_13(name)
    expected = recorded.tensor(f"preprocess/{name}.pixel_values")
    assert torch.equal(ImageProcessor(64).pixel_values([picture(name)])[0], expected)
    # Mean and std of the released checkpoints are what the image tokenizer takes, too.
    assert torch.equal(ImageProcessor(64).pixels([picture(name)])[0], expected)


def test_other_means_colour_the_padding_and_the_normalisation(
    recorded: Any, picture: Callable[[str], Tensor]
) -> None:
    skip_before_pillow_13("tall_grey")
    clip = ImageProcessor(64, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    expected = recorded.tensor("preprocess/tall_grey.clip_norm_pixel_values")
    torch.testing.assert_close(clip.pixel_values([picture("tall_grey")])[0], expected, rtol=0, atol=1e-6)
    # The image tokenizer takes [-1, 1], whatever the vision tower was trained on.
    assert float(clip.pixels([picture("tall_grey")]).min()) >= -1.0


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_at_the_released_size_hash_as_the_reference(
    recorded: Any, picture: Callable[[str], Tensor], name: str
) -> None:
    expected = recorded.value(f"preprocess384.{name}")
    processor = ImageProcessor(384)
    image = picture(name)[..., :3]  # the reference ignores alpha
    letterboxed = processor.letterbox(image).transpose(2, 0, 1)
    values = processor.pixel_values([image])[0]
    assert list(letterboxed.shape) == expected["uint8_shape"]
    assert sha256(letterboxed) == expected["uint8_sha256"]
    assert sha256(values.numpy()) == expected["pixel_values_sha256"]
    assert str(values.dtype) == expected["pixel_values_dtype"]
    assert float(values.double().sum()) == pytest.approx(expected["pixel_values_sum_f64"], abs=1e-6)
    assert [picture(name).shape[1], picture(name).shape[0]] == expected["orig_wh"]


@pytest.mark.parametrize(
    ("height", "width", "inner"),
    [(1, 1, (64, 64)), (16000, 10, (64, 14)), (10, 16000, (14, 64)), (3, 200, (14, 64)), (63, 64, (63, 64))],
)
def test_any_size_is_letterboxed_to_a_square(height: int, width: int, inner: tuple[int, int]) -> None:
    letterboxed = ImageProcessor(64).letterbox(torch.ones(height, width, 3))
    assert letterboxed.shape == (64, 64, 3)
    white = (letterboxed == 255).all(axis=-1)
    assert (int(white.any(axis=1).sum()), int(white.any(axis=0).sum())) == inner


def test_grey_becomes_rgb() -> None:
    grey = torch.rand(5, 7, 1)
    processor = ImageProcessor(16)
    assert torch.equal(processor.pixel_values([grey]), processor.pixel_values([grey.expand(5, 7, 3)]))


def cut_out(colour: float, hidden: float) -> Tensor:
    """A disc on a transparent ground whose hidden colour differs, with a soft edge: [40, 60, 4]."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, 40), torch.linspace(-1.5, 1.5, 60), indexing="ij")
    alpha = ((0.8 - (down**2 + across**2).sqrt()) * 8).clamp(0, 1)[..., None]
    return torch.cat((torch.where(alpha > 0, colour, hidden).expand(40, 60, 3), alpha), dim=-1)


@pytest.mark.parametrize("method", ["pixel_values", "pixels", "cropped_pixels"])
def test_alpha_is_composed_on_the_padding_before_resizing(method: str) -> None:
    processor = ImageProcessor(32)
    image = cut_out(colour=0.9, hidden=0.0)
    rgb, alpha = image[..., :3], image[..., 3:]
    composed = rgb * alpha + (1 - alpha) * 127 / 255
    prepare = getattr(processor, method)
    expected = prepare(composed if method == "cropped_pixels" else [composed])
    found = [
        prepare(other if method == "cropped_pixels" else [other]) for other in (image, cut_out(0.9, 1.0))
    ]
    # What is hidden makes no difference, and leaves no fringe.
    assert torch.equal(found[0], expected) and torch.equal(found[1], expected)
    assert float(found[0].min()) > -0.1


def test_alpha_is_ignored_as_in_the_reference_only_if_it_is_cut_off() -> None:
    image = cut_out(colour=0.9, hidden=0.0)
    processor = ImageProcessor(32)
    assert float(processor.pixels([image[..., :3]]).min()) < -0.9
    opaque = torch.cat((image[..., :3], torch.ones(40, 60, 1)), dim=-1)
    assert torch.equal(processor.pixels([opaque]), processor.pixels([image[..., :3]]))


def test_alpha_is_composed_on_the_padding_of_other_means() -> None:
    clip = ImageProcessor(8, (0.48145466, 0.4578275, 0.40821073))
    letterboxed = clip.letterbox(torch.zeros(4, 8, 4))
    assert (letterboxed == (122, 116, 104)).all()
    assert clip.background == (122 / 255, 116 / 255, 104 / 255)


def test_composition_is_exact_and_in_full_precision() -> None:
    image = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    colour = (1.0, 0.25, 0.0)
    expected = image[..., :3].double() * image[..., 3:].double()
    expected += (1 - image[..., 3:].double()) * torch.tensor(colour).double()
    torch.testing.assert_close(compose_on(image, colour), expected.float(), rtol=0, atol=1e-7)
    assert compose_on(image.bfloat16(), colour).dtype == torch.float32
    for visible, shown in ((1.0, image[..., :3]), (0.0, torch.tensor(colour).expand(2, 3, 5, 3))):
        image[..., 3] = visible
        assert torch.equal(compose_on(image, colour), shown)
    for channels in (1, 3):
        assert torch.equal(compose_on(image[..., :channels], colour), image[..., :channels])


def test_8_bit_pictures_come_through_unchanged() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(16, 16, 1).expand(16, 16, 3)
    assert np.array_equal(np.asarray(to_pillow(levels.float() / 255, GREY)), levels.numpy())


def test_values_outside_of_the_range_are_clamped() -> None:
    image = torch.tensor([-0.5, 0.0, 1.0, 1.5]).view(2, 2, 1)
    assert np.asarray(to_pillow(image, GREY))[..., 0].tolist() == [[0, 0], [255, 255]]


def test_half_precision_images_are_accepted() -> None:
    image = torch.rand(4, 4, 3).bfloat16()
    assert np.array_equal(np.asarray(to_pillow(image, GREY)), np.asarray(to_pillow(image.float(), GREY)))


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(4, 4),
        torch.zeros(1, 4, 4, 3),
        torch.zeros(4, 4, 2),
        torch.zeros(4, 4, 5),
        torch.zeros(3, 4, 7),
        torch.zeros(0, 4, 3),
    ],
    ids=lambda image: str(list(image.shape)),
)
def test_tensors_that_are_not_images_are_refused(image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"image must be a tensor \[H, W, C\] with 1, 3 or 4 channels, got"):
        to_pillow(image, GREY)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_images_with_nan_or_infinity_are_refused(value: float) -> None:
    image = torch.zeros(4, 4, 3)
    image[1, 2, 0] = value
    with pytest.raises(ValueError, match="image must contain finite numbers, got NaN or infinity"):
        to_pillow(image, GREY)


def test_integer_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image must contain floats between 0 and 1, got torch.uint8"):
        to_pillow(torch.zeros(4, 4, 3, dtype=torch.uint8), GREY)


def test_oversized_images_are_refused() -> None:
    with pytest.raises(ValueError, match="image sides must be at most 65536 pixels, got"):
        to_pillow(torch.zeros(1, 65_537, 1), GREY)


def test_pixels_become_images_in_0_to_1() -> None:
    pixels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0, 0.5]).view(1, 3, 1, 2)
    images = to_images(pixels.bfloat16())
    assert images.dtype == torch.float32
    assert images.shape == (1, 1, 2, 3)
    assert images[0, 0].tolist() == [[0.0, 0.5, 1.0], [0.0, 1.0, 0.75]]
