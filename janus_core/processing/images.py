"""Pictures to the tensors that the towers see, exactly as the reference prepares them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..file_io import read_json_if_present

MAX_SIDE = 65_536
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Frame:
    """Where a picture lies in the model's square after letterboxing.

    Attributes:
        left: empty columns before it, in pixels of the square.
        top: empty rows above it.
        width: columns that it takes.
        height: rows that it takes.
    """

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class ImageProcessor:
    """Letterboxes an image to a square and normalises it (`preprocessor_config.json`).

    Attributes:
        image_size: side of the square, in pixels.
        mean: per channel, of the normalisation that the vision tower expects.
        std: per channel.
        min_size: the shorter side is at least this long after resizing, in pixels.
    """

    image_size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    min_size: int = 14

    def __post_init__(self) -> None:
        for name, values in (("image_mean", self.mean), ("image_std", self.std)):
            if len(values) != 3 or not all(isinstance(value, (int, float)) for value in values):
                raise ValueError(f"{name} must be three numbers, got {values}; mend preprocessor_config.json")
        if min(self.std) <= 0:
            raise ValueError(f"image_std must be above 0, got {self.std}; mend preprocessor_config.json")

    def pixel_values(self, images: Iterable[Tensor]) -> Tensor:
        """Normalised input of the vision tower.

        Args:
            images: [H, W, C] tensors in [0, 1], of any sizes; C is 1 (grey), 3, or 4 (alpha is dropped).

        Returns:
            [B, 3, S, S] float32.
        """
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        return torch.stack([torch.from_numpy((self._rescaled(image) - mean) / std) for image in images])

    def pixels(self, images: Iterable[Tensor]) -> Tensor:
        """Input of the image tokenizer: the same squares, [B, 3, S, S] float32 in [-1, 1]."""
        half = np.float32(0.5)
        return torch.stack([torch.from_numpy((self._rescaled(image) - half) / half) for image in images])

    def cropped_pixels(self, image: Tensor) -> Tensor:
        """Input of the image tokenizer as Janus-Pro-R1 makes it, [1, 3, S, S] float32 in [-1, 1].

        The central square of an [H, W, C] image, by the crop of ADM (arXiv:2105.05233, public code).
        """
        picture, size = to_pillow(image), self.image_size
        while min(picture.size) >= 2 * size:
            halved = (picture.width // 2, picture.height // 2)
            picture = picture.resize(halved, Image.Resampling.BOX)
        scale = size / min(picture.size)
        resized = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(resized, Image.Resampling.BICUBIC)
        left, top = (picture.width - size) // 2, (picture.height - size) // 2
        cropped = np.asarray(picture.crop((left, top, left + size, top + size)))
        values = torch.from_numpy(cropped.astype(np.float32) / np.float32(255)).permute(2, 0, 1)
        return ((values - 0.5) / 0.5)[None]

    def frame(self, width: int, height: int) -> Frame:
        """Where a picture of this size lies in the square."""
        shortest = min(self.min_size, self.image_size)
        # The reference divides before it multiplies; another order rounds some sizes differently.
        across, down = (
            max(int(side / max(width, height) * self.image_size), shortest) for side in (width, height)
        )
        return Frame((self.image_size - across) // 2, (self.image_size - down) // 2, across, down)

    def letterbox(self, image: Tensor) -> np.ndarray:
        """Resizes the longer side to S and pads the shorter one around the centre; [S, S, 3] uint8.

        Pillow's bicubic filter on uint8, because the reference's pixels are Pillow's.
        """
        picture = to_pillow(image)
        frame = self.frame(*picture.size)
        resized = picture.resize((frame.width, frame.height), Image.Resampling.BICUBIC)
        if frame.width == frame.height:
            return np.asarray(resized)
        side = self.image_size
        canvas = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in self.mean))
        canvas.paste(resized, (frame.left, frame.top))
        return np.asarray(canvas)

    def _rescaled(self, image: Tensor) -> np.ndarray:
        # Through float64 and back, as the reference rescales: float32 alone differs in the last bit.
        return (self.letterbox(image).transpose(2, 0, 1).astype(np.float64) * (1 / 255)).astype(np.float32)


def read_image_processor(folder: Path, image_size: int) -> ImageProcessor:
    """Reads the image processor of a checkpoint folder.

    Args:
        folder: the checkpoint; without a `preprocessor_config.json`, SigLIP's usual normalisation applies.
        image_size: side of the square that the model's towers were built for.
    """
    settings = read_json_if_present(folder / "preprocessor_config.json")
    usual = ImageProcessor(image_size)
    return ImageProcessor(
        image_size,
        tuple(settings.get("image_mean") or usual.mean),
        tuple(settings.get("image_std") or usual.std),
        settings.get("min_size") or usual.min_size,
    )


def is_image_file(path: Path) -> bool:
    """Whether a name is that of an image, and of a file.

    Hidden files are left out: macOS puts one beside each image on other systems' disks.
    """
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_image(path: Path) -> Tensor:
    """The image [H, W, 3] in [0, 1] that ComfyUI's Load Image makes of a file: upright, without alpha.

    Of several frames it is the first.

    Raises:
        ValueError: if the file cannot be read as an image.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16"):
                grey = torch.from_numpy(np.array(upright).astype(np.float32) / 65535.0)
                return grey[..., None].expand(-1, -1, 3).contiguous()
            if upright.mode == "I":
                upright = upright.point(lambda value: value * (1 / 255))
            return torch.from_numpy(np.array(upright.convert("RGB")).astype(np.float32) / 255.0)
    except Exception as error:  # a broken file makes Pillow's decoders raise errors of any class
        raise ValueError(f"image must be one that can be read, got: {error}; mend or remove it") from error


def to_pillow(image: Tensor) -> Image.Image:
    """An RGB picture of an [H, W, C] tensor in [0, 1].

    Raises:
        ValueError: if the tensor is not an image.
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"image must be a tensor [H, W, C] with 1, 3 or 4 channels, got shape {list(image.shape)}; "
            "pass one picture of a batch [B, H, W, C] at a time"
        )
    if max(image.shape[:2]) > MAX_SIDE:
        raise ValueError(
            f"image sides must be at most {MAX_SIDE} pixels, got {list(image.shape[:2])}; resize it first"
        )
    if not image.is_floating_point():
        raise ValueError(f"image must hold floats between 0 and 1, got {image.dtype}; divide bytes by 255")
    values = image.detach().cpu().float()
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            "image must hold finite numbers, got NaN or infinity; check the node or code that made it"
        )
    if float(values.max()) > 2.0:
        raise ValueError(
            f"image must hold numbers from 0 to 1, got up to {float(values.max()):g}; divide 8-bit values by "
            "255"
        )
    # Rounded, not truncated: an 8-bit picture divided by 255 comes back as itself.
    bytes_ = (values[..., :3] * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(bytes_.expand(-1, -1, 3).contiguous().numpy())


def to_images(pixels: Tensor) -> Tensor:
    """Maps pixels [B, 3, H, W] in [-1, 1] to images [B, H, W, 3] in [0, 1], float32."""
    return ((pixels.float() + 1.0) / 2.0).clamp(0.0, 1.0).permute(0, 2, 3, 1).contiguous()
