"""Reading image files: every mode of Pillow with the right values, alpha, rotation.

Reported of other packages: the-database/traiNNer-redux #193 (16 bits) and kohya-ss/sd-scripts #1269 (alpha).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from janus_nodes.janus_core.processing import image_files
from janus_nodes.janus_core.processing.image_files import (
    BACKGROUNDS,
    image_suffixes,
    is_image_file,
    read_image,
)
from janus_nodes.janus_core.processing.images import GREY, ImageProcessor
from PIL import Image
from support.image_files import BYTES, encoded, samples, tiff

# What only newer versions of Pillow can read or write.
SINCE_12 = ("la premultiplied.tif", "ycbcr.tif", "MPO", "avif")
SAMPLES = {sample.name: sample for sample in samples()}
NOISE = np.random.default_rng(5).integers(0, 256, (128, 48, 3), dtype=np.uint8)


def readable(names: Iterable[str]) -> list[str]:
    """Those of some kinds of files that the installed Pillow can read and write."""
    newer = int(PIL.__version__.split(".")[0]) >= 12
    return [name for name in names if newer or name not in SINCE_12]


def as_image(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels.astype(np.float32) / 255)


@pytest.mark.parametrize("name", readable(SAMPLES))
def test_a_file_of_any_mode_is_read_with_its_values(tmp_path: Path, name: str) -> None:
    sample = SAMPLES[name]
    with Image.open(io.BytesIO(sample.content)) as picture:
        assert picture.mode == sample.mode
    (tmp_path / sample.name).write_bytes(sample.content)
    image = read_image(tmp_path / sample.name)
    assert image.dtype == torch.float32
    expected = torch.from_numpy(sample.expected.astype(np.float32))
    torch.testing.assert_close(image, expected, rtol=0, atol=sample.tolerance)


# What a viewer does with each value of EXIF's orientation, on [H, W, C].
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_image_is_turned_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    file = tmp_path / "turned"
    file.write_bytes(encoded(Image.fromarray(BYTES), kind, exif=exif, **options))
    assert torch.equal(read_image(file), as_image(UPRIGHT[orientation](BYTES).copy()))


def test_a_deep_image_is_turned_upright(tmp_path: Path) -> None:
    shades = np.arange(0, 60_000, 10_000, dtype=np.uint16).reshape(2, 3)
    (tmp_path / "a.tif").write_bytes(tiff(shades, byteorder=">", extratags=[(0x0112, 3, 1, 6, True)]))
    expected = torch.from_numpy(shades[::-1].T.astype(np.float32) / 65535)
    torch.testing.assert_close(read_image(tmp_path / "a.tif")[..., 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", readable(["GIF", "WEBP", "PNG", "TIFF", "MPO"]))
def test_of_several_frames_the_first_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "MPO" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(content)) as picture:
        assert getattr(picture, "n_frames", 1) == 3
    (tmp_path / "frames").write_bytes(content)
    expected = torch.tensor([1.0, 0.0, 0.0]).expand(16, 16, 3)
    torch.testing.assert_close(read_image(tmp_path / "frames"), expected, rtol=0, atol=2 / 255)


def test_transparent_parts_show_the_background(tmp_path: Path) -> None:
    # Red that is hidden, half hidden and visible.
    levels = np.array([[[255, 0, 0, 0], [255, 0, 0, 51], [255, 0, 0, 255]]], np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    for background in (GREY, BACKGROUNDS["white"], BACKGROUNDS["black"], (0.0, 0.5, 1.0)):
        assert background is not None
        image = read_image(tmp_path / "a.png", background)
        red, behind = torch.tensor([1.0, 0.0, 0.0]), torch.tensor(background)
        expected = torch.stack((behind, 0.2 * red + 0.8 * behind, red))[None]
        torch.testing.assert_close(image, expected, rtol=0, atol=1e-6)
    # The grey is the one that the model pads with, and left to the processor.
    assert BACKGROUNDS["grey"] is None
    assert torch.equal(read_image(tmp_path / "a.png"), as_image(levels))
    assert ImageProcessor(8).background == GREY


def test_a_background_leaves_opaque_files_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png", (1.0, 1.0, 1.0)), as_image(NOISE))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "P", "I;16", "F"])
def test_larger_images_are_scaled_down(tmp_path: Path, mode: str) -> None:
    grey = np.tile(np.linspace(0, 255, 400, dtype=np.float32), (200, 1))
    pictures = {"I;16": Image.fromarray((grey * 257).astype(np.uint16)), "F": Image.fromarray(grey)}
    picture = pictures.get(mode) or Image.fromarray(grey.astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", max_side=400).shape[:2] == (200, 400)
    image = read_image(tmp_path / "a.tif", max_side=100)
    assert image.shape[:2] == (50, 100)
    expected = torch.linspace(0, 1, 400).view(100, 4).mean(dim=1).expand(50, 100)
    torch.testing.assert_close(image[..., 0], expected, rtol=0, atol=3 / 255)


def test_hidden_colours_do_not_bleed_when_images_are_scaled_down(tmp_path: Path) -> None:
    levels = np.zeros((64, 64, 4), np.uint8)
    levels[:, :33] = (0, 0, 255, 255)
    levels[:, 33:] = (255, 0, 0, 0)
    Image.fromarray(levels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", (1.0, 1.0, 1.0), max_side=16)
    # Without red that was hidden, red and green are equal everywhere.
    torch.testing.assert_close(image[..., 0], image[..., 1], rtol=0, atol=1.5 / 255)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4\n"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"image must be readable, got: .*cannot identify"):
        read_image(tmp_path / "a.png")


def test_missing_files_and_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image must be readable, got: .*none.png"):
        read_image(tmp_path / "none.png")
    (tmp_path / "nan.tif").write_bytes(tiff(np.array([[0.5, np.nan]], np.float32)))
    with pytest.raises(ValueError, match="image must be readable, got: it holds NaN or infinity"):
        read_image(tmp_path / "nan.tif")


@pytest.mark.parametrize(("largest", "white"), [(0.5, 1), (1.02, 1), (2.0, 1), (2.5, 255), (255.0, 255)])
def test_floats_slightly_above_1_are_clipped(tmp_path: Path, largest: float, white: int) -> None:
    shades = np.array([[0.0, 0.25, 0.5, largest]], np.float32)
    (tmp_path / "a.tif").write_bytes(tiff(shades))
    expected = torch.from_numpy(shades / np.float32(white)).clamp(0, 1)
    torch.testing.assert_close(read_image(tmp_path / "a.tif")[..., 0], expected, rtol=0, atol=1e-6)


def test_all_formats_with_pixels_are_image_files(tmp_path: Path) -> None:
    names = "a.png b.JPG c.jpeg d.jfif e.gif f.tif g.TIFF h.webp j.bmp k.tga l.jp2 m.ppm n.ico o.psd"
    others = "a.txt b.pdf c.eps d.mpg e.json f.safetensors g.mp4 h.h5 i.svg .hidden.png ._a.png png"
    for name in (*names.split(), *others.split()):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert {path.name for path in tmp_path.iterdir() if is_image_file(path)} == set(names.split())
    assert not is_image_file(tmp_path / "missing.png")
    assert {".gif", ".tif", ".tiff", ".jfif"} < set(image_suffixes())
    assert not {".pdf", ".eps", ".mpg", ".wmf"} & set(image_suffixes())


@pytest.mark.parametrize(
    "suffix", readable(["gif", "tif", "tiff", "jfif", "avif", "jp2", "tga", "ico", "ppm", "sgi", "pcx"])
)
def test_each_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    picture = Image.new("RGB", (32, 32), (200, 40, 90))
    picture.save(tmp_path / f"a.{suffix}")
    assert is_image_file(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    expected = torch.tensor([200.0, 40.0, 90.0]).div(255).expand(32, 32, 3)
    torch.testing.assert_close(image[..., :3], expected, rtol=0, atol=4 / 255)


def test_formats_of_plugins_that_are_added_later_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.heicx").touch()
    assert not is_image_file(tmp_path / "a.heicx")
    monkeypatch.setitem(Image.registered_extensions(), ".heicx", "PNG")
    assert is_image_file(tmp_path / "a.heicx")
    assert image_files.image_suffixes().count(".heicx") == 1


def test_the_content_of_a_file_is_read_as_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert torch.equal(read_image(content), read_image(tmp_path / "a.png"))
    with pytest.raises(ValueError, match="image must be readable"):
        read_image(b"no image")


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(ValueError, match="30 x 20 pixels, which are more than 599"):
        read_image(tmp_path / "a.png", max_pixels=599)
