"""Layers that ComfyUI could not move are refused: they would be stranded."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.nodes.movable import make_movable


def test_unknown_layer_with_weights_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Bilinear(2, 2, 2)))
    with pytest.raises(TypeError, match=r"layer 1\.0 must be of a class that ComfyUI can move, got Bilinear"):
        make_movable(model)


def test_weights_beside_other_layers_are_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.scale = torch.nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError, match="must be of a class that ComfyUI can move, got Sequential"):
        make_movable(model)
