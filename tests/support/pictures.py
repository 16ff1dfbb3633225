"""Photographs, and images as ComfyUI writes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from torch import Tensor

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea")  # 512x512, 600x400 and 451x300 pixels


def write_photograph(name: str, folder: Path) -> Path:
    """Saves one of scikit-image's photographs."""
    file = folder / f"{name}.png"
    Image.fromarray(getattr(skimage.data, name)()).save(file)
    return file


def saved_pixels(images: Tensor) -> np.ndarray:
    """Converts images to bytes [B, H, W, 3] as ComfyUI's SaveImage does: truncated, not rounded."""
    return np.clip(255.0 * images.cpu().numpy(), 0, 255).astype(np.uint8)


def decode_png(data: bytes) -> np.ndarray:
    """Decodes an image file to bytes [H, W, 3]."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture.convert("RGB"))
