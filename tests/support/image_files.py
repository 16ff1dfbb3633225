"""Image files of all kinds, with the values that they hold, computed without Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 4, 6
SHADES = np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
BYTES = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
PALETTE = np.array([[255, 0, 0], [0, 200, 30], [7, 8, 9]], np.uint8)
INDICES = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % len(PALETTE)


@dataclass(frozen=True)
class Sample:
    """A file, and its image [H, W, C] in [0, 1]; alpha, if there is any, is not premultiplied."""

    name: str
    content: bytes
    expected: np.ndarray
    mode: str  # as Pillow opens the file
    tolerance: float = 1e-6


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A file of a picture."""
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def tiff(values: np.ndarray, **options: Any) -> bytes:
    """A TIFF file of numbers, without Pillow."""
    target = io.BytesIO()
    tifffile.imwrite(target, values, **options)
    return target.getvalue()


def as_rgb(grey: np.ndarray) -> np.ndarray:
    """Grey [H, W] in three channels."""
    return np.repeat(grey[..., None], 3, axis=-1)


def with_alpha(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """RGB [H, W, 3] and alpha [H, W] in one array."""
    return np.concatenate((rgb, alpha[..., None]), axis=-1)


def samples() -> Iterator[Sample]:
    """One file for each mode and way of being transparent."""
    yield from _eight_bits()
    yield from _palettes()
    yield from _deep_grey()
    yield from _colour_spaces()


def _eight_bits() -> Iterator[Sample]:
    rgb, grey, alpha = BYTES[..., :3], BYTES[..., 0], BYTES[..., 3]
    levels, soft = as_rgb(grey / 255), alpha / 255
    yield Sample("l.png", encoded(Image.fromarray(grey), "PNG"), levels, "L")
    yield Sample("rgb.png", encoded(Image.fromarray(rgb), "PNG"), rgb / 255, "RGB")
    yield Sample("rgba.png", encoded(Image.fromarray(BYTES), "PNG"), BYTES / 255, "RGBA")
    yield Sample(
        "rgba.webp", encoded(Image.fromarray(BYTES), "WEBP", lossless=True, exact=True), BYTES / 255, "RGBA"
    )
    two = np.stack((grey, alpha), axis=-1)
    yield Sample("la.png", encoded(Image.fromarray(two), "PNG"), with_alpha(levels, soft), "LA")
    # Transparency as one colour, which is opaque elsewhere.
    key = with_alpha(levels, (grey != grey[1, 1]) * 1.0)
    yield Sample("l key.png", encoded(Image.fromarray(grey), "PNG", transparency=int(grey[1, 1])), key, "L")
    colour = tuple(int(level) for level in rgb[1, 1])
    key = with_alpha(rgb / 255, (rgb != rgb[1, 1]).any(axis=-1) * 1.0)
    yield Sample("rgb key.png", encoded(Image.fromarray(rgb), "PNG", transparency=colour), key, "RGB")
    bits = grey > 127
    yield Sample("1.png", encoded(Image.fromarray(bits), "PNG"), as_rgb(bits * 1.0), "1")
    key = with_alpha(as_rgb(bits * 1.0), bits * 1.0)
    yield Sample("1 key.png", encoded(Image.fromarray(bits), "PNG", transparency=0), key, "1")
    # Premultiplied, so that only colours behind enough alpha come back.
    strong = np.maximum(alpha, 128)
    straight = with_alpha(levels, strong / 255)
    product = (two[..., 0] * (strong / 255)).round().astype(np.uint8)
    content = tiff(np.stack((product, strong), axis=-1), photometric="minisblack", extrasamples="assocalpha")
    yield Sample("la premultiplied.tif", content, straight, "La", tolerance=2 / 255)
    product = (rgb * (strong / 255)[..., None]).round().astype(np.uint8)
    content = tiff(with_alpha(product, strong), photometric="rgb", extrasamples="assocalpha")
    straight = with_alpha(rgb / 255, strong / 255)
    yield Sample("rgba premultiplied.tif", content, straight, "RGBA", tolerance=2 / 255)


def _palettes() -> Iterator[Sample]:
    colours = PALETTE[INDICES] / 255
    picture = Image.fromarray(INDICES)
    picture.putpalette(PALETTE.tobytes())
    yield Sample("p.png", encoded(picture, "PNG"), colours, "P")
    alphas = np.array([255, 100, 0], np.uint8)
    expected = with_alpha(colours, alphas[INDICES] / 255)
    yield Sample("p alphas.png", encoded(picture, "PNG", transparency=alphas.tobytes()), expected, "P")
    expected = with_alpha(colours, (INDICES != 1) * 1.0)
    yield Sample("p index.png", encoded(picture, "PNG", transparency=1), expected, "P")
    yield Sample("p index.gif", encoded(picture, "GIF", transparency=1), expected, "P")
    both = Image.merge("LA", (Image.fromarray(INDICES), Image.fromarray(BYTES[..., 3]))).convert("PA")
    both.putpalette(PALETTE.tobytes())
    both.putalpha(Image.fromarray(BYTES[..., 3]))
    yield Sample("pa.tif", encoded(both, "TIFF"), with_alpha(colours, BYTES[..., 3] / 255), "PA")


def _deep_grey() -> Iterator[Sample]:
    shades, levels = SHADES, as_rgb(SHADES / 65535)
    picture = Image.fromarray(shades)
    yield Sample("16.png", encoded(picture, "PNG"), levels, "I;16")
    yield Sample("16.jp2", encoded(picture, "JPEG2000"), levels, "I;16")
    pgm = f"P5\n{WIDTH} {HEIGHT}\n65535\n".encode() + shades.astype(">u2").tobytes()
    yield Sample("16.pgm", pgm, levels, "I")
    key = with_alpha(levels, (shades != shades[1, 1]) * 1.0)
    content = encoded(picture, "PNG", transparency=int(shades[1, 1]))
    yield Sample("16 key.png", content, key, "I;16", tolerance=0.5 / 255)
    yield Sample("16 little.tif", tiff(shades, byteorder="<"), levels, "I;16")
    yield Sample("16 big.tif", tiff(shades, byteorder=">"), levels, "I;16B")
    yield Sample("16 inverted.tif", tiff(65535 - shades, photometric="miniswhite"), levels, "I;16")
    yield Sample("float 1.tif", tiff((shades / 65535).astype(np.float32)), levels, "F")
    yield Sample("float 255.tif", tiff((shades / 257).astype(np.float32)), levels, "F")
    # No scale is defined; ComfyUI's is to divide by 255, truncate, and clip.
    divided = as_rgb((shades // 255).clip(0, 255) / 255)
    yield Sample("32 signed.tif", tiff(shades.astype(np.int32)), divided, "I")
    yield Sample("32 signed big.tif", tiff(shades.astype(np.int32), byteorder=">"), divided, "I")
    yield Sample("32 unsigned.tif", tiff(shades.astype(np.uint32)), divided, "I")


def _colour_spaces() -> Iterator[Sample]:
    ink = BYTES / 255
    expected = (1 - ink[..., :3]) * (1 - ink[..., 3:])
    yield Sample("cmyk.tif", tiff(BYTES, photometric="separated"), expected, "CMYK", tolerance=1.5 / 255)
    flat = np.broadcast_to(np.array([40, 90, 200, 20], np.uint8), (16, 16, 4))
    expected = (1 - flat[..., :3] / 255) * (1 - flat[..., 3:] / 255)
    picture = Image.frombytes("CMYK", (16, 16), flat.tobytes())
    # Pillow writes Adobe's marker, and inverted inks.
    yield Sample("cmyk.jpg", encoded(picture, "JPEG", quality=100), expected, "CMYK", tolerance=3 / 255)
    luma, blue, red = 120.0, 90.0, 160.0  # ITU-R BT.601 in full range, as in JFIF
    rgb = [luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128)]
    rgb.append(luma + 1.772 * (blue - 128))
    expected = np.broadcast_to(np.array(rgb) / 255, (16, 16, 3))
    picture = Image.new("YCbCr", (16, 16), (120, 90, 160))
    yield Sample("ycbcr.tif", encoded(picture, "TIFF"), expected, "YCbCr", tolerance=1 / 255)
    yield Sample("ycbcr.jpg", encoded(picture, "JPEG", quality=100), expected, "RGB", tolerance=2 / 255)
    # CIE 1976: from lightness without colour to luminance, and by sRGB's curve to a level.
    lightness = 128 / 255 * 100
    level = 1.055 * ((lightness + 16) / 116) ** (3 / 2.4) - 0.055
    picture = Image.new("LAB", (WIDTH, HEIGHT), (128, 128, 128))
    expected = np.full((HEIGHT, WIDTH, 3), level)
    yield Sample("lab.tif", encoded(picture, "TIFF"), expected, "LAB", tolerance=2 / 255)
