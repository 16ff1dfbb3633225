"""All images that a checkpoint knows, if these are few, and whether other images are unlike all of them.

Such a checkpoint may hold `known_images.json`, which only this package writes. It is compared with the
input of the vision tower. The tower's features separate images less well, since it maps everything to what
it knows (measured in the model card of the demonstration checkpoint).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..file_io import read_json, write_atomically

KNOWN_IMAGES = "known_images.json"
TILE_SIDE = 4  # values along one side of a tile, each the average of an area
_WIDTH = 3 * TILE_SIDE**2


@dataclass(frozen=True, eq=False)
class KnownImages:
    """Small tiles of the images that a checkpoint was trained on.

    Attributes:
        tiles: [K, 3 * TILE_SIDE * TILE_SIDE] normalised pixels, reduced by averaging; float32.
        tiles_per_side: how many tiles an image has along one side.
        threshold: the largest distance of an image that counts as known.
        description: what the images show, as it follows "trained on".
    """

    tiles: Tensor
    tiles_per_side: int
    threshold: float
    description: str

    def distances(self, pixel_values: Tensor) -> Tensor:
        """Distances [B] of images, as the vision tower takes them, [B, 3, S, S], from the known tiles.

        Of each tile, the root mean square difference from the nearest known one is taken; of an image, the
        square of the mean square root of its tiles. So an image in which few tiles are very different, such
        as a drawing with one failed shape, is nearer than one in which all are slightly different.
        """
        tiles = image_tiles(pixel_values, self.tiles_per_side)
        # Not by matrix products, whose cancellation is larger than the distance of equal tiles.
        exact = "donot_use_mm_for_euclid_dist"
        nearest = [torch.cdist(each, self.tiles, compute_mode=exact).amin(dim=1) for each in tiles]
        differences = torch.stack(nearest) / self.tiles.shape[1] ** 0.5
        return differences.sqrt().mean(dim=1).square()

    def are_unfamiliar(self, pixel_values: Tensor) -> tuple[bool, ...]:
        """Returns for each image [B, 3, S, S] whether it is unlike all known ones."""
        return tuple((self.distances(pixel_values) > self.threshold).tolist())


def image_tiles(pixel_values: Tensor, tiles_per_side: int) -> Tensor:
    """Cuts images [B, 3, S, S] into tiles of averages: [B, tiles, 3 * TILE_SIDE * TILE_SIDE] on the CPU."""
    reduced = F.adaptive_avg_pool2d(pixel_values.cpu().float(), tiles_per_side * TILE_SIDE)
    return F.unfold(reduced, TILE_SIDE, stride=TILE_SIDE).transpose(1, 2).contiguous()


def read_known_images(folder: Path) -> KnownImages | None:
    """Reads a checkpoint's `known_images.json`; None if it has none.

    Raises:
        ValueError: if the file is broken.
    """
    file = folder / KNOWN_IMAGES
    if not file.is_file():
        return None
    content = read_json(file)
    try:
        tiles = np.frombuffer(base64.b64decode(content["tiles"], validate=True), "<f2").reshape(-1, _WIDTH)
        settings = int(content["tiles_per_side"]), float(content["threshold"]), str(content["description"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} must hold tiles, tiles_per_side, threshold and description, got: {error}; write it "
            "again, or remove it"
        ) from error
    if len(tiles) == 0 or settings[0] < 1:
        raise ValueError(
            f"{file} must hold at least one tile and a tiles_per_side from 1, got {len(tiles)} and "
            f"{settings[0]}; write it again, or remove it"
        )
    return KnownImages(torch.from_numpy(tiles.astype(np.float32)), *settings)


def write_known_images(known: KnownImages, folder: Path) -> Path:
    """Writes `known_images.json` into a checkpoint folder, and returns its path."""
    content = {
        "description": known.description,
        "threshold": known.threshold,
        "tiles_per_side": known.tiles_per_side,
        "tiles": base64.b64encode(known.tiles.numpy().astype("<f2").tobytes()).decode(),
    }
    file = folder / KNOWN_IMAGES
    write_atomically(file, json.dumps(content, indent=1, ensure_ascii=False).encode())
    return file
