"""Moving averages of weights in training, which draw better than the last weights of a flow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of some parameters over the steps of a stage.

    It starts as a plain mean, so that the initial weights count no more than any others.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        """Averages nothing if the decay is 0."""
        self.parameters, self.decay = parameters, decay
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> None:
        """Adds the weights after one more step."""
        if not self.decay:
            return
        if not self.values:
            self.values = {"steps": torch.zeros(())}
            self.values |= {name: value.detach().clone() for name, value in self.parameters.items()}
        self.values["steps"] += 1
        weight = max(1.0 - self.decay, 1.0 / float(self.values["steps"]))
        for name, value in self.parameters.items():
            self.values[name].lerp_(value, weight)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Restores saved `values`."""
        self.values = {
            name: value.to(self.parameters[name].device) if name in self.parameters else value
            for name, value in values.items()
        }

    @torch.no_grad()
    def apply(self) -> None:
        """Replaces the weights by their average."""
        for name, value in self.parameters.items():
            if name in self.values:
                value.copy_(self.values[name])
