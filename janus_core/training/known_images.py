"""Collects tiles of training pictures, by which a checkpoint detects unfamiliar images."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..pipeline.pipeline import JanusPipeline
from ..processing.known_images import KnownImages, image_tiles
from .pictures import to_images
from .samples import TrainingData

PICTURES, HELD_OUT = 800, 100  # whose tiles are collected, and with which the threshold is set
MAX_TILES = 4096
# One level of 8 bits, in normalised pixels. What users do to a known picture (JPEG, other sizes, redrawing a
# part) moves it by up to 5.4 levels; photographs start at 7 (model card of the demonstration checkpoint).
_LEVEL = 2 / 255
MIN_THRESHOLD = 6 * _LEVEL
_MARGIN = 1.5  # from the farthest held-out picture, where the data is more varied than that
_RADIUS = 1 * _LEVEL  # within which a tile stands for others
_CHUNK = 100


def collect_known_images(pipeline: JanusPipeline, data: TrainingData) -> KnownImages:
    """Draws pictures from the data, and returns their tiles and a threshold; the same for the same data."""
    vision = pipeline.model.config.understanding.vision
    per_side = vision.image_size // vision.patch_size
    tiles: Tensor | None = None
    for start in range(0, PICTURES, _CHUNK):
        found = image_tiles(_pixel_values(pipeline, data, range(start, start + _CHUNK)), per_side)
        tiles = _covering(found.flatten(0, 1), tiles)
    assert tiles is not None
    tiles = tiles.half().float()  # as they are stored
    known = KnownImages(tiles, per_side, 0.0, data.description)
    held_out = _pixel_values(pipeline, data, range(PICTURES, PICTURES + HELD_OUT))
    threshold = max(MIN_THRESHOLD, _MARGIN * float(known.distances(held_out).max()))
    return replace(known, threshold=threshold)


def _pixel_values(pipeline: JanusPipeline, data: TrainingData, indices: Sequence[int]) -> Tensor:
    pictures = [data.picture(random.Random(f"known {index}")) for index in indices]
    return pipeline.image_processor.pixel_values(to_images(pictures))


def _covering(candidates: Tensor, chosen: Tensor | None) -> Tensor:
    """Adds candidates [n, C] to the chosen ones, always the farthest, until all others are near."""
    candidates = torch.unique(candidates, dim=0)
    chosen = candidates[:1] if chosen is None else chosen
    distances = torch.cdist(candidates, chosen, compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)
    while float(distances.max()) > _RADIUS * candidates.shape[1] ** 0.5 and len(chosen) < MAX_TILES:
        farthest = candidates[int(distances.argmax())]
        chosen = torch.cat((chosen, farthest[None]))
        distances = torch.minimum(distances, (candidates - farthest).norm(dim=1))
    return chosen
