"""Solver steps for ordinary differential equations, of first and second order."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Field = Callable[[Tensor, float], Tensor]
"""The velocity at a state and a time: `field(state, time)`."""

Solver = Callable[[Field, Tensor, float, float], Tensor]
"""Advances a state by a time span: `solver(field, state, time, span)`."""


def euler(field: Field, state: Tensor, time: float, span: float) -> Tensor:
    """First order, one evaluation: the velocity at the start."""
    return state + span * field(state, time)


def midpoint(field: Field, state: Tensor, time: float, span: float) -> Tensor:
    """Second order, two evaluations: the velocity half-way (Hairer et al., Solving ODEs I, II.1)."""
    half = euler(field, state, time, span / 2)
    return state + span * field(half, time + span / 2)


def heun(field: Field, state: Tensor, time: float, span: float) -> Tensor:
    """Second order, two evaluations: the mean of the velocities at both ends (Hairer et al., II.1)."""
    first = field(state, time)
    last = field(state + span * first, time + span)
    return state + span / 2 * (first + last)


SOLVERS: dict[str, Solver] = {"euler": euler, "midpoint": midpoint, "heun": heun}
