"""Reads image files as ComfyUI's Load Image does, for captioning and training."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin
from torch import Tensor

from .images import Colour, compose_on

_log = logging.getLogger(__name__)

# Colours behind the transparent parts of a file. None keeps alpha for the `ImageProcessor`, which composes it
# on its padding colour.
BACKGROUNDS: dict[str, Colour | None] = {
    "grey": None,
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
}

# Formats that Pillow knows by their extension but that are documents, films or data without pixels.
_NOT_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"})

# Formats in which Pillow's mode I is 16-bit grey by definition. In others, it has no defined scale and is
# divided by 255 to get bytes, as in Load Image of ComfyUI 0.3.75.
_SIXTEEN_BITS = frozenset({"JPEG2000", "PNG", "PPM"})

# Floats up to this, as `ImageProcessor` takes them, are of a picture in [0, 1].
_MOST_OVERSHOOT = 2

# Pillow's switch for damaged files is global: one reader at a time may set it.
_switch = threading.Lock()


def image_suffixes() -> tuple[str, ...]:
    """All extensions of image files that the installed Pillow can read, in lower case."""
    return tuple(sorted(suffix for suffix in Image.registered_extensions() if _is_readable(suffix)))


def is_image_file(path: Path) -> bool:
    """Whether a path is an image file by its extension, and not hidden (as macOS's `._` companions are)."""
    return _is_readable(path.suffix.lower()) and not path.name.startswith(".") and path.is_file()


def read_image(
    path: Path | bytes,
    background: Colour | None = None,
    max_side: int | None = None,
    max_pixels: int | None = None,
) -> Tensor:
    """Reads an image file as [H, W, 3] float32 in [0, 1]; [H, W, 4] with alpha, if no background is given.

    8-bit files give the same pixels as Load Image in ComfyUI 0.3.75. A truncated file is read as far as it
    can be decoded, as by Load Image, and a warning is logged. The EXIF rotation is applied; of several frames
    or pages, the first is read. 16-bit grey keeps its depth. 32-bit grey has no defined scale: integers of
    65025 and above are white; floats are white at 1, or at 255 if any of them is above 2, and clipped, as
    resampling may take a picture in [0, 1] slightly above 1. Colour profiles are ignored.

    Args:
        path: a file in any format that Pillow can read, or the content of one.
        background: the colour behind transparent parts, as RGB in [0, 1]. None keeps alpha as a fourth
            channel, not premultiplied.
        max_side: a larger image is scaled down to this many pixels on its longer side.
        max_pixels: a larger image is refused before it is decoded.

    Raises:
        ValueError: if the file cannot be read, for whatever reason.
    """
    try:
        if max_pixels is not None:
            _check_size(path, max_pixels)
        picture = _load(path, max_side)
        values = np.asarray(picture, np.float32)
        if not np.isfinite(values).all():
            raise ValueError("it holds NaN or infinity")
    except Exception as error:  # Pillow's decoders raise errors of any class for damaged files
        raise ValueError(f"image must be readable, got: {error}; fix or remove it") from error
    if picture.mode == "F":
        return torch.from_numpy(values.clip(0, 1))[..., None].repeat(1, 1, 3)
    image = torch.from_numpy(values / np.float32(255))
    return image if background is None else compose_on(image, background)


def _is_readable(suffix: str) -> bool:
    kind = Image.registered_extensions().get(suffix)
    return kind in Image.OPEN and kind not in _NOT_PICTURES


@contextmanager
def _opened(path: Path | bytes) -> Iterator[ImageFile.ImageFile]:
    # Given a path, Pillow memory-maps an uncompressed TIFF in its stored size, even if it must be rotated.
    with BytesIO(path) if isinstance(path, bytes) else path.open("rb") as source, Image.open(source) as file:
        yield file


def _check_size(path: Path | bytes, max_pixels: int) -> None:
    """Raises ValueError for a picture of more pixels, by its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # this is the check
        with _opened(path) as file:
            width, height = file.size
    if width * height > max_pixels:
        raise ValueError(f"{width} x {height} pixels, which are more than {max_pixels}")


def _load(path: Path | bytes, max_side: int | None) -> Image.Image:
    try:
        return _decode(path, max_side)
    except (OSError, ValueError) as error:
        with _damage_allowed():
            if _is_all_filler(path):
                raise
            picture = _decode(path, max_side)
        name = "an image" if isinstance(path, bytes) else path
        _log.warning("%s is damaged (%s); what could be decoded is used", name, error)
        return picture


def _is_all_filler(path: Path | bytes) -> bool:
    """Whether a damaged file is read as nothing but the colour that its decoder gives to missing pixels."""
    with _opened(path) as file:
        filler = 0
        if file.format in ("JPEG", "MPO"):
            filler = 127 if file.mode == "CMYK" else 128  # the middle; Pillow inverts inks
        levels = np.asarray(file)
    return bool((levels == filler).all())


@contextmanager
def _damage_allowed() -> Iterator[None]:
    """Lets Pillow decode truncated files on this thread, as ComfyUI's Load Image does after a failure."""
    with _switch:
        before, here = ImageFile.LOAD_TRUNCATED_IMAGES, _OnThisThread()
        ImageFile.LOAD_TRUNCATED_IMAGES = before or here  # type: ignore[assignment]  # Pillow only asks if it is true
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
            here.thread = None


class _OnThisThread:
    """True only on the thread that made it, until `thread` is None, so that other readers stay strict."""

    def __init__(self) -> None:
        self.thread: int | None = threading.get_ident()

    def __bool__(self) -> bool:
        return self.thread == threading.get_ident()


def _decode(path: Path | bytes, max_side: int | None) -> Image.Image:
    """The upright picture in mode RGB, RGBA, or F for grey in [0, 1]; scaled down if it is larger."""
    with _opened(path) as file:
        if max_side is not None:
            file.draft(None, (2 * max_side, 2 * max_side))  # JPEGs are decoded at a fraction of their size
        upright = ImageOps.exif_transpose(file)
        picture = _deep_grey(upright, file) if _is_deep(upright.mode, file.format) else _to_bytes(upright)
    if max_side is not None:
        picture.thumbnail((max_side, max_side))
    return picture


def _is_deep(mode: str, file_format: str | None) -> bool:
    """Whether a picture is grey of more than 8 bits, on a scale that is known."""
    return mode == "F" or mode.startswith("I;") or (mode == "I" and file_format in _SIXTEEN_BITS)


def _to_bytes(picture: Image.Image) -> Image.Image:
    """Converts a picture to RGB, or RGBA if it has transparency."""
    if picture.mode == "I":
        picture = picture.point(lambda value: value * (1 / 255))
    if picture.mode == "La":  # premultiplied, which Pillow converts to nothing else
        picture = picture.convert("LA")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")


def _deep_grey(picture: Image.Image, file: ImageFile.ImageFile) -> Image.Image:
    """Scales grey of more than 8 bits to [0, 1]; RGBA if one of its shades is transparent."""
    shades = np.asarray(picture, np.float32)
    white = 65535
    if picture.mode == "F":
        white = 1 if shades.max() <= _MOST_OVERSHOOT else 255
    values = (shades / np.float32(white)).clip(0, 1)
    if (
        isinstance(file, TiffImagePlugin.TiffImageFile)
        and file.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    ):
        values = 1 - values  # black is the largest number, which Pillow inverts for 8 bits only
    if "transparency" not in picture.info:
        return Image.fromarray(values)
    level = Image.fromarray((values * 255).round().astype(np.uint8))
    alpha = Image.fromarray(np.where(shades == picture.info["transparency"], 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (level, level, level, alpha))
