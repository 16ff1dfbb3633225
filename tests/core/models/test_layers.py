"""Shared layers: rounding order, rotary positions, projectors."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import RMSNorm
from janus_nodes.janus_core.config import ProjectorConfig
from janus_nodes.janus_core.models.layers import Projector, rotary_angles, rotate
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norm_rounds_as_llama_does(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    states = (torch.randn(4, 9, 64, generator=generator) * 30).to(dtype)
    norm, oracle = RMSNorm(64, 1e-6), LlamaRMSNorm(64, 1e-6)
    weight = torch.rand(64, generator=generator) + 0.5
    norm.weight.data, oracle.weight.data = weight.to(dtype), weight.to(dtype)
    assert torch.equal(norm(states), oracle(states))
    assert torch.equal(norm.normalize(states, weight.to(dtype)), oracle(states))


def test_norm_of_large_fp16_numbers_is_finite() -> None:
    assert bool(torch.isfinite(RMSNorm(8, 1e-6).half()(torch.full((1, 8), 60000.0).half())).all())


def test_rotation_depends_on_the_distance_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(1, 1, 1, 32, generator=generator) for _ in range(2))

    def product(query_position: int, key_position: int) -> float:
        rotated = [
            rotate(states, *rotary_angles(torch.tensor([[position]]), 32, 10000.0, torch.float32))
            for states, position in ((query, query_position), (key, key_position))
        ]
        return float((rotated[0] * rotated[1]).sum())

    assert product(5, 2) == pytest.approx(product(1003, 1000), abs=1e-3)
    assert product(5, 2) != pytest.approx(product(5, 3), abs=1e-3)


def test_far_positions_stay_apart_in_bf16() -> None:
    cos, _ = rotary_angles(torch.tensor([[4000, 4001]]), 64, 10000.0, torch.bfloat16)
    assert cos.dtype == torch.bfloat16
    assert not torch.equal(cos[0, 0, 0], cos[0, 0, 1])


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_projectors_have_as_many_layers_as_asked_for(depth: int) -> None:
    projector = Projector(ProjectorConfig(input_size=6, hidden_size=10, depth=depth))
    assert sum(isinstance(module, nn.Linear) for module in projector.modules()) == depth
    assert sum(isinstance(module, nn.GELU) for module in projector.modules()) == depth - 1
    assert projector(torch.zeros(2, 3, 6)).shape == (2, 3, 10)
