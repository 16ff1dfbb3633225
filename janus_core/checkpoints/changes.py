"""Changes that LoRA adapters make to rows of a parameter, computed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .buffers import allocate

_BLOCK_ELEMENTS = 2**20


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
    if rows.dtype is torch.float32 and all(isinstance(change, LowRankChange) for change in changes):
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
