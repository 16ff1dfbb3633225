"""Solvers applied to an equation with a known solution."""

from __future__ import annotations

import math

import pytest
import torch
from janus_nodes.janus_core import SOLVERS


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_the_error_falls_with_the_order(solver: str, order: int) -> None:
    # x' = x cos(t) from x(0) = 1 is exp(sin(t)).
    def error(steps: int) -> float:
        state = torch.ones((), dtype=torch.float64)
        for step in range(steps):
            state = SOLVERS[solver](lambda x, t: x * math.cos(t), state, step / steps, 1 / steps)
        return abs(float(state) - math.exp(math.sin(1.0)))

    assert math.log2(error(256) / error(512)) == pytest.approx(order, abs=0.02)


def test_there_is_no_untested_solver() -> None:
    assert SOLVERS.keys() == {"euler", "midpoint", "heun"}
