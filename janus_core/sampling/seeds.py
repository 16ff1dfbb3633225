"""Random streams: one per image or answer, independent of the batch."""

from __future__ import annotations

import torch

from .options import MAX_SEED


def seeded_generator(seed: int, index: int) -> torch.Generator:
    """The random stream of one image or answer of a batch: that of `seed + index`.

    It is on the CPU whatever torch's default device is, so that a seed has the same result on every device.
    The seed may be a numpy integer, which could not hold the sum.
    """
    return torch.Generator("cpu").manual_seed((int(seed) + index) & MAX_SEED)
