"""Products with weights that are converted first: no overflow, and the memory that is estimated."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.models.quantized.dequantize import (
    dequantized,
    int4_conversion_bytes,
    int8_by_conversion,
    int8_conversion_bytes,
)
from janus_nodes.janus_core.models.quantized.int8_linear import quantize_per_channel
from support.allocations import AllocationCounter


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
def test_int8_in_fp16_overflows_no_sooner_than_its_outputs(size: float) -> None:
    # Their products with whole numbers are up to 127 times larger.
    weight, scale = quantize_per_channel(
        torch.randn(64, 1024, generator=torch.Generator().manual_seed(0)) * 0.02
    )
    inputs = (torch.randn(4, 1024, generator=torch.Generator().manual_seed(1)) * size).half()
    outputs = int8_by_conversion(inputs, weight, scale, None)
    exact = inputs.double() @ (weight.double() * scale.double()[:, None]).T
    assert (outputs - exact).norm() <= 5e-4 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dequantized_weights_take_what_is_estimated(dtype: torch.dtype) -> None:
    weight, (scale, zero) = torch.zeros(512, 256, dtype=torch.uint8), torch.ones(2, 512, 8, dtype=dtype)
    with AllocationCounter() as counter:
        dequantized(weight, scale, zero, 64, dtype)
    estimate = int4_conversion_bytes(1, 512, 512, dtype.itemsize)
    assert 0.9 * estimate <= counter.memory.peak <= estimate


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("vectors", [2, 2000])
def test_converted_weights_take_what_is_estimated(dtype: torch.dtype, vectors: int) -> None:
    inputs, weight = torch.ones(vectors, 256, dtype=dtype), torch.zeros(512, 256, dtype=torch.int8)
    scale = torch.ones(512)
    with AllocationCounter() as counter:
        outputs = int8_by_conversion(inputs, weight, scale, None)
    estimate = int8_conversion_bytes(vectors, 512, 256, dtype.itemsize) + outputs.nbytes
    assert 0.7 * estimate <= counter.memory.peak <= estimate
