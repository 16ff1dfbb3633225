"""Losses of answers and images."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.training.objectives import UnifiedObjective, batches
from janus_nodes.janus_core.training.recipe import Stage
from janus_nodes.janus_core.training.shapes.data import ShapesData


@torch.no_grad()
def test_losses_do_not_depend_on_the_chunk_size(pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("x", "unified", (), 1, 12, 1e-3, shares=(1, 1, 1, 1))
    losses = []
    for chunk_size in (1, 3, 16):
        objective = UnifiedObjective(pipe, stage, ShapesData())
        monkeypatch.setattr(batches, "CHUNK_SIZE", chunk_size)
        losses.append(objective.losses(0, random.Random(5)))
    for other in losses[1:]:
        assert {key: float(value) for key, value in other.items()} == pytest.approx(
            {key: float(value) for key, value in losses[0].items()}, rel=1e-5
        )


@pytest.mark.parametrize("options", [{"alignment": 0.5}, {"draws": 4}, {"time_shift": -0.5}])
def test_options_of_flows_are_refused_for_tokens(options: dict[str, Any], pipe: JanusPipeline) -> None:
    stage = replace(Stage("x", "unified", (), 1, 12, 1e-3, shares=(0, 0, 1)), **options)
    with pytest.raises(ValueError, match=r"must be left out for a model that draws tokens, got .*for flows"):
        UnifiedObjective(pipe, stage, ShapesData())
