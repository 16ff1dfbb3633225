"""Image preprocessing (compose, letterbox, normalise), and conversion from and to tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MAX_SIDE = 65_536

Colour = tuple[float, float, float]
"""Red, green and blue in [0, 1]."""

GREY: Colour = (127 / 255, 127 / 255, 127 / 255)
"""The padding of the released models."""


@dataclass(frozen=True)
class Frame:
    """The rectangle that an image takes in the model's square after letterboxing, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class ImageProcessor:
    """Letterboxes images to a square and normalises them, bit-identical to the reference."""

    image_size: int  # side S of the square, in pixels
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # per channel, for the vision tower
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    min_size: int = 14  # lower limit of the shorter side after resizing, in pixels
    rescale_factor: float = 1 / 255  # multiplies the bytes before the normalisation
    do_normalize: bool = True  # whether to apply mean and std; the mean gives the padding in any case

    def __post_init__(self) -> None:
        for name, values in (("image_mean", self.mean), ("image_std", self.std)):
            if not isinstance(values, tuple) or len(values) != 3 or not all(map(_is_number, values)):
                raise ValueError(f"{name} must be three numbers, got {values!r}; correct it")
        if not 0 <= min(self.mean) <= max(self.mean) <= 1:
            raise ValueError(f"image_mean must be from 0 to 1, got {self.mean}; correct it")
        if min(self.std) <= 0:
            raise ValueError(f"image_std must be above 0, got {self.std}; correct it")
        if not isinstance(self.min_size, int) or isinstance(self.min_size, bool) or self.min_size < 1:
            raise ValueError(f"min_size must be an integer from 1, got {self.min_size!r}; correct it")
        if not _is_number(self.rescale_factor) or self.rescale_factor <= 0:
            raise ValueError(f"rescale_factor must be above 0, got {self.rescale_factor!r}; correct it")

    @property
    def padding(self) -> tuple[int, int, int]:
        """The colour of the padding, in bytes: the mean."""
        red, green, blue = (int(channel * 255) for channel in self.mean)
        return red, green, blue

    @property
    def background(self) -> Colour:
        """The colour of the padding, on which images with alpha are composed."""
        red, green, blue = self.padding
        return red / 255, green / 255, blue / 255

    def pixel_values(self, images: Iterable[Tensor]) -> Tensor:
        """Makes the input of the vision tower, [B, 3, S, S] float32 normalised with `mean` and `std`.

        The images are [H, W, C] in [0, 1], of any size; C is 1 (grey), 3, or 4 (alpha, not premultiplied).
        """
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        rescaled = [self._rescaled(image, self.rescale_factor) for image in images]
        if self.do_normalize:
            rescaled = [(values - mean) / std for values in rescaled]
        return torch.stack([torch.from_numpy(values) for values in rescaled])

    def pixels(self, images: Iterable[Tensor]) -> Tensor:
        """Makes the input of the image tokenizer, [B, 3, S, S] float32 in [-1, 1]."""
        half = np.float32(0.5)
        rescaled = (self._rescaled(image, 1 / 255) for image in images)
        return torch.stack([torch.from_numpy((values - half) / half) for values in rescaled])

    def cropped_pixels(self, image: Tensor) -> Tensor:
        """Makes the input of the image tokenizer as Janus-Pro-R1 does, [1, 3, S, S] float32 in [-1, 1].

        Crops an [H, W, C] image to its central square as ADM does (arXiv:2105.05233, public code).
        """
        picture, size = to_pillow(image, self.background), self.image_size
        # Halve by averaging as often as possible, resize the shorter side to S, and cut out the centre.
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
        """The rectangle of the square that an image of this size takes."""
        shortest = min(self.min_size, self.image_size)
        # The reference divides before it multiplies; another order rounds some sizes differently.
        across, down = (
            max(int(side / max(width, height) * self.image_size), shortest) for side in (width, height)
        )
        return Frame((self.image_size - across) // 2, (self.image_size - down) // 2, across, down)

    def letterbox(self, image: Tensor) -> np.ndarray:
        """Resizes the longer side to S and pads the shorter one on both ends; [S, S, 3] uint8.

        Uses Pillow's bicubic filter on uint8, as the reference does.
        """
        picture = to_pillow(image, self.background)
        frame = self.frame(*picture.size)
        resized = picture.resize((frame.width, frame.height), Image.Resampling.BICUBIC)
        side = self.image_size
        canvas = Image.new("RGB", (side, side), self.padding)
        canvas.paste(resized, (frame.left, frame.top))
        return np.asarray(canvas)

    def _rescaled(self, image: Tensor, factor: float) -> np.ndarray:
        # In float64, as in the reference: the result of float32 differs in the last bit.
        return (self.letterbox(image).transpose(2, 0, 1).astype(np.float64) * factor).astype(np.float32)


def compose_on(image: Tensor, colour: Colour) -> Tensor:
    """Puts images [..., 4] in [0, 1] with alpha, not premultiplied, on a colour: [..., 3] float32.

    Images with another number of channels are returned as they are.
    """
    if image.shape[-1] != 4:
        return image
    rgb, alpha = image[..., :3].float(), image[..., 3:].float().clamp(0.0, 1.0)
    return torch.lerp(rgb.new_tensor(colour), rgb, alpha)


def to_pillow(image: Tensor, background: Colour) -> Image.Image:
    """Converts an [H, W, C] tensor in [0, 1] to an RGB image of Pillow; alpha is composed on a colour."""
    check_pixels(image)
    # Rounding, not truncating, makes the conversion of 8-bit images to floats and back lossless.
    composed = compose_on(image.detach().cpu().float(), background)
    bytes_ = (composed * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(bytes_.expand(-1, -1, 3).contiguous().numpy())


def check_pixels(image: Tensor) -> None:
    """Raises ValueError if an image is not [H, W, C] of numbers in [0, 1], or slightly beyond.

    C is 1 (grey), 3, or 4 (with alpha).
    """
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"image must be a tensor [H, W, C] with 1, 3 or 4 channels, got shape {list(image.shape)}; "
            "pass one image of a batch [B, H, W, C] at a time"
        )
    if max(image.shape[:2]) > MAX_SIDE:
        raise ValueError(
            f"image sides must be at most {MAX_SIDE} pixels, got {list(image.shape[:2])}; resize it first"
        )
    if not image.is_floating_point():
        raise ValueError(f"image must contain floats between 0 and 1, got {image.dtype}; divide bytes by 255")
    if not bool(torch.isfinite(image).all()):
        raise ValueError("image must contain finite numbers, got NaN or infinity; check what produced it")
    if (largest := float(image.max())) > 2.0:  # slightly above 1 is clamped
        raise ValueError(
            f"image must contain numbers from 0 to 1, got up to {largest:g}; divide 8-bit values by 255"
        )


def to_images(pixels: Tensor) -> Tensor:
    """Converts pixels [B, 3, H, W] in [-1, 1] to images [B, H, W, 3] float32 in [0, 1]."""
    return ((pixels.float() + 1.0) / 2.0).clamp(0.0, 1.0).permute(0, 2, 3, 1).contiguous()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
