"""How a loop tells of its progress, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

OnStep = Callable[[int, int, Tensor], None]
"""Called after each step with: steps done, steps in all (at most), and what there is so far, [B, step] tokens.

It may raise to cancel the run: the exception passes through the loop unchanged.
"""


def ignore_step(step: int, total: int, state: Tensor) -> None:
    """An `OnStep` that does nothing."""
