"""The moving average of weights."""

from __future__ import annotations

import torch
from janus_nodes.janus_core.training.average import WeightAverage
from torch import nn


def averaged(decay: float, values: list[float], resume_at: int | None = None) -> float:
    weight = nn.Parameter(torch.tensor([100.0]))  # the initial weight, which does not count
    average = WeightAverage({"weight": weight}, decay)
    for index, value in enumerate(values):
        if index == resume_at:
            saved = {name: value.clone() for name, value in average.values.items()}
            average = WeightAverage({"weight": weight}, decay)
            average.load(saved)
        weight.data.fill_(value)
        average.update()
    average.apply()
    return float(weight.detach())


def test_it_is_a_mean_at_first_and_then_forgets() -> None:
    assert averaged(0.9, [2.0, 4.0, 9.0]) == 5.0
    assert averaged(0.5, [2.0, 4.0, 9.0]) == 6.0  # the mean of 3 and 9
    assert averaged(0.0, [2.0, 4.0]) == 4.0


def test_a_restored_average_continues() -> None:
    values = [1.0, 5.0, 2.0, 8.0]
    for index in range(1, 4):
        assert averaged(0.6, values, resume_at=index) == averaged(0.6, values)
