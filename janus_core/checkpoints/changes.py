"""Changes that LoRA adapters make to rows of a parameter, computed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .buffers import allocate
from .precision import has_fast_bf16

_BLOCK_ELEMENTS = 2**20

# Smaller products may be computed by other kernels, which round more than once.
_MIN_BF16_ELEMENTS = 2**18


@dataclass(frozen=True, eq=False)
class LowRankChange:
    """Adds `factor * up @ down` to some rows of a parameter (LoRA, arXiv:2106.09685, section 4.1).

    Attributes:
        start: the first of these rows.
        up: [rows, r], of any float dtype.
        down: [r, C], C being the size of one row.
        factor: the adapter's strength times alpha / r.
    """

    start: int
    up: Tensor
    down: Tensor
    factor: float

    @property
    def stop(self) -> int:
        """Index after the last of these rows."""
        return self.start + len(self.up)

    def add_to(self, rows: Tensor, base: Tensor, first: int, last: int) -> None:
        """Applies rows `first` to `last` (exclusive) of this change to float32 rows [n, C], in place."""
        up, down = (part.to(rows.device, torch.float32) for part in (self.up[first:last], self.down))
        rows.addmm_(up, down, alpha=self.factor)


@dataclass(frozen=True, eq=False)
class Replacement:
    """Interpolates some rows of a parameter towards a fully trained weight (PEFT's `modules_to_save`).

    They become `base + strength * (weight - base)`.

    Attributes:
        start: the first of these rows.
        weight: [rows, C], of any float dtype.
        strength: of the adapter; 1 replaces the rows.
    """

    start: int
    weight: Tensor
    strength: float

    @property
    def stop(self) -> int:
        """Index after the last of these rows."""
        return self.start + len(self.weight)

    def add_to(self, rows: Tensor, base: Tensor, first: int, last: int) -> None:
        """Applies rows `first` to `last` (exclusive) to float32 rows [n, C], in place.

        `base` [n, C] are the checkpoint's rows, before any adapter, in other memory and of any float dtype.
        """
        weight = self.weight[first:last].to(rows.device, torch.float32)
        rows.add_(weight - base.float(), alpha=self.strength)


Change = LowRankChange | Replacement


def add_changes(weights: Tensor, start: int, changes: Sequence[Change]) -> None:
    """Applies changes to consecutive rows of a parameter, in place.

    Args:
        weights: the rows [n, ...], contiguous, of any float dtype; the float32 sums are rounded to it once.
        start: index of the first of them in the parameter.
        changes: of this parameter, in the order in which they are added.
    """
    stop = start + len(weights)
    changes = [change for change in changes if change.start < stop and start < change.stop]
    if not changes:
        return
    rows = weights.view(len(weights), -1)
    low_rank = [change for change in changes if isinstance(change, LowRankChange)]
    if len(low_rank) == len(changes) and _has_fast_products(rows):
        _add_bf16_products(rows, start, low_rank)
        return
    if rows.dtype is torch.float32 and len(low_rank) == len(changes):
        _add_to_rows(rows, rows, start, changes)
        return
    # In blocks that fit into a CPU's cache, so that the float32 copies are small.
    size = min(max(1, _BLOCK_ELEMENTS // rows.shape[1]), len(rows))
    copy = allocate((size, rows.shape[1]), torch.float32, rows.device)
    for first in range(0, len(rows), size):
        block = rows[first : first + size]
        sums = copy[: len(block)].copy_(block)
        _add_to_rows(sums, block, start + first, changes)
        block.copy_(sums)


def _add_to_rows(sums: Tensor, base: Tensor, start: int, changes: Sequence[Change]) -> None:
    """Applies changes to float32 rows [n, C] in place; `start` is the index of the first in the parameter."""
    for change in changes:
        first, last = max(start, change.start), min(start + len(sums), change.stop)
        if first < last:
            part = slice(first - start, last - start)
            change.add_to(sums[part], base[part], first - change.start, last - change.start)


def _has_fast_products(rows: Tensor) -> bool:
    """Whether bf16 matrix instructions add products to these rows: a third of the time of float32 sums."""
    is_large = rows.numel() >= _MIN_BF16_ELEMENTS
    return is_large and rows.dtype is torch.bfloat16 and rows.device.type == "cpu" and has_fast_bf16("cpu")


def _add_bf16_products(rows: Tensor, start: int, changes: Sequence[LowRankChange]) -> None:
    """Adds all changes of bf16 rows [n, C] in one product; oneDNN sums in float32 and rounds once."""
    ends = {end for change in changes for end in (change.start, change.stop)}
    ends = {min(max(end - start, 0), len(rows)) for end in ends}
    for first, last in pairwise(sorted(ends)):
        pairs = [
            pair
            for change in changes
            if change.start <= start + first and start + last <= change.stop
            for pair in _bf16_pairs(change, start + first - change.start, start + last - change.start)
        ]
        if pairs:
            up, down = zip(*pairs, strict=True)
            rows[first:last].addmm_(torch.cat(up, dim=1), torch.cat(down))


def _bf16_pairs(change: LowRankChange, first: int, last: int) -> list[tuple[Tensor, Tensor]]:
    """Factors of bf16 whose products add up to some rows of a change, but for 2^-17 of them."""
    up, up_rest = _split(change.up[first:last].float() * change.factor)
    down, down_rest = _split(change.down.float())
    pairs = [(up, down), (up_rest, down), (up, down_rest)]
    return [pair for pair in pairs if all(bool(factor.any()) for factor in pair)]


def _split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Writes float32 numbers as sums of two of bf16."""
    rounded = values.bfloat16()
    return rounded, (values - rounded.float()).bfloat16()
