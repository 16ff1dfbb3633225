"""From a seed to random numbers that each row of a batch has for itself."""

from __future__ import annotations

import torch

from .options import MAX_SEED


def row_generator(seed: int, row: int) -> torch.Generator:
    """The random stream of a row (or image): that of `seed + row` alone, in any batch.

    It is on the CPU whatever torch's default device is, so that a seed is the same on every device. The seed
    may be numpy's, whose integers cannot hold the sum.
    """
    return torch.Generator("cpu").manual_seed((int(seed) + row) & MAX_SEED)
