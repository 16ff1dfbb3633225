"""The core's reader of image files beside ComfyUI's Load Image, whose pixels it gives where it says so.

Load Image of newer versions decodes with FFmpeg instead of Pillow, which rounds colours otherwise, fills what
is missing otherwise, does not mirror, and fails for tiny images.
Files that are cut off are reported in Comfy-Org/ComfyUI #2692.
"""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import pytest
import torch
from comfy_extras.nodes_compositing import JoinImageWithAlpha
from janus_nodes.janus_core.processing.image_files import read_image
from PIL import Image
from support.image_files import Sample, encoded, samples
from torch import Tensor

import nodes

PILLOW = not hasattr(nodes, "InputImpl")
TOLERANCE = 1e-6 if PILLOW else 8 / 255
# What Load Image gets wrong: a transparent colour is no mask, 16 bits are clipped, floats are truncated and
# those up to 1 black, inverted lightness and premultiplied alpha are not seen, LAB's A is taken for alpha.
DEPARTURES = ("key", "16", "float", "premultiplied", "lab")


def photograph() -> Image.Image:
    """A smooth picture, which decoders agree about: [96, 128, 3]."""
    down, across = np.mgrid[0:1:96j, 0:1:128j]
    waves = [np.sin(3 * across + 2 * down + shift) for shift in (0.0, 0.7, 1.4)]
    return Image.fromarray((np.stack(waves, axis=-1) * 120 + 128).astype(np.uint8))


def both(name: str, content: bytes) -> tuple[Tensor, Tensor]:
    """An image by this package and by Load Image, [H, W, C]; with alpha if this package finds any."""
    file = Path(folder_paths.get_input_directory()) / name
    file.write_bytes(content)
    found = read_image(file)
    images, masks = nodes.LoadImage().load_image(name)
    return found, images[0] if found.shape[-1] == 3 else torch.cat((images[0], 1 - masks[0][..., None]), -1)


@pytest.mark.skipif(not PILLOW, reason="FFmpeg does not read images as small as these")
@pytest.mark.parametrize(
    "sample",
    [sample for sample in samples() if not any(word in sample.name for word in DEPARTURES)],
    ids=lambda sample: sample.name,
)
def test_files_of_any_mode_are_read_as_by_load_image(sample: Sample) -> None:
    found, expected = both(sample.name, sample.content)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
def test_photographs_are_read_as_by_load_image(suffix: str) -> None:
    Image.init()
    content = encoded(photograph(), Image.EXTENSION[f".{suffix}"])
    found, expected = both(f"whole.{suffix}", content)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("orientation", range(1, 9) if PILLOW else (1, 3, 6, 8))
def test_images_are_turned_as_by_load_image(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found, expected = both("turned.jpg", encoded(photograph(), "JPEG", exif=exif))
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_files_that_are_cut_off_are_read_as_by_load_image(kind: str, share: float) -> None:
    noise = np.random.default_rng(5).integers(-9, 9, (96, 128, 3))  # so that the rows are of equal length
    picture = Image.fromarray((np.asarray(photograph()) + noise).clip(0, 255).astype(np.uint8))
    content = encoded(picture, kind, quality=95)
    found, expected = both(f"cut.{kind.lower()}", content[: int(len(content) * share)])
    rows = len(found) if PILLOW else int(len(found) * share) - 32
    torch.testing.assert_close(found[:rows], expected[:rows], rtol=0, atol=TOLERANCE if PILLOW else 0.1)


@pytest.mark.parametrize("colour", ["white", "black"])
def test_a_picture_of_one_colour_without_the_end_marker_is_read_as_by_load_image(colour: str) -> None:
    content = encoded(Image.new("RGB", (128, 96), colour), "JPEG")
    found, expected = both("one colour.jpg", content[:-2])
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_is_that_of_load_image(kind: str) -> None:
    frames = [photograph(), *(Image.new("RGB", (128, 96), colour) for colour in ("lime", "blue"))]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    found, expected = both(f"frames.{kind.lower()}", content)
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def test_join_image_with_alpha_gives_back_the_transparency_that_load_image_leaves_out() -> None:
    picture = photograph()
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    file = Path(folder_paths.get_input_directory()) / "cut out.png"
    picture.save(file)
    images, masks = nodes.LoadImage().load_image(file.name)
    joined = JoinImageWithAlpha.execute(images, masks).result[0]
    torch.testing.assert_close(joined[0], read_image(file), rtol=0, atol=1e-6)
