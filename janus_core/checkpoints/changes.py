"""Changes that LoRA adapters make to rows of a parameter, computed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 2**22


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

        `base` [n, C] are the checkpoint's rows, before any adapter.
        """
        weight = self.weight[first:last].to(rows.device, torch.float32)
        rows.add_(weight - base, alpha=self.strength)


Change = LowRankChange | Replacement


def copy_changed(target: Tensor, values: Tensor, start: int, changes: Sequence[Change]) -> None:
    """Copies consecutive rows of a parameter and applies changes to them.

    Args:
        target: [n, ...] of any float dtype; the float32 sums are rounded to it once. It may be `values`.
        values: the checkpoint's rows [n, ...], of any float dtype.
        start: index of the first of them in the parameter.
        changes: of this parameter, in the order in which they are added.
    """
    stop = start + len(values)
    if not any(change.start < stop and start < change.stop for change in changes):
        target.copy_(values)
        return
    # In blocks, so that the float32 copies are small.
    has_replacement = any(isinstance(change, Replacement) for change in changes)
    size = max(1, _BLOCK_ELEMENTS * len(values) // values.numel())
    scratch = torch.empty(size, values[0].numel(), dtype=torch.float32, device=target.device)
    for first in range(0, len(values), size):
        block = values[first : first + size]
        rows = scratch[: len(block)].copy_(block.reshape(len(block), -1))
        base = rows.clone() if has_replacement else rows
        _add_changes(rows, base, start + first, changes)
        target[first : first + size].copy_(rows.view(block.shape))


def _add_changes(rows: Tensor, base: Tensor, start: int, changes: Sequence[Change]) -> None:
    """Applies changes to float32 rows [n, C] in place; `start` is the index of the first in the parameter."""
    for change in changes:
        first, last = max(start, change.start), min(start + len(rows), change.stop)
        if first < last:
            part = slice(first - start, last - start)
            change.add_to(rows[part], base[part], first - change.start, last - change.start)
