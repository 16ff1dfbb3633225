"""Int8 layers as plain parameters: within the rounding of their weights, on every path."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.models.quantized import int8_linear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear
from support.parametrize import slow_except
from torch import nn


@pytest.mark.parametrize("chunk", [None, 1000], ids=["one chunk", "chunks"])
@pytest.mark.parametrize("length", slow_except((0, 1, 2, 3, 16, 200), 0, 1, 3))
@pytest.mark.parametrize("size", [5, 20, 31, 192])  # the kernel takes blocks of 32 only
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_is_within_its_rounding(
    monkeypatch: pytest.MonkeyPatch, chunk: int | None, length: int, size: int, bias: bool, dtype: torch.dtype
) -> None:
    if chunk:
        monkeypatch.setattr(int8_linear, "_MAX_QUANTIZING_ELEMENTS", chunk)
    torch.manual_seed(0)
    layer = nn.Linear(size, 80, bias=bias).requires_grad_(False)
    quantized = Int8Linear(layer.weight, layer.bias)
    inputs = torch.randn(length, 3, size).to(dtype)[:, -2:]
    outputs, expected = quantized(inputs), layer(inputs.float())
    assert outputs.dtype == dtype
    assert outputs.shape == expected.shape
    # 127 steps to the largest weight of an output, and products of bf16.
    assert (outputs.float() - expected).norm() <= 0.012 * expected.norm()


def test_int8_weights_are_rounded_to_nearest() -> None:
    weight = torch.tensor([[0.0, 1.0, -2.54], [0.0, 0.0, 0.0]])
    quantized = Int8Linear(weight, None)
    assert quantized.weight.tolist() == [[0, 50, -127], [0, 0, 0]]
    assert torch.isfinite(quantized(torch.ones(1, 3))).all()
