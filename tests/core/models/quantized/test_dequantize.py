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
def test_int8_in_fp16_does_not_overflow(size: float) -> None:
    # Products with whole numbers are up to 1,700 times larger than the outputs, which are up to 220.
    weight, scale = quantize_per_channel(
        torch.randn(64, 1024, generator=torch.Generator().manual_seed(0)) * 0.02
    )
    inputs = (torch.randn(4, 1024, generator=torch.Generator().manual_seed(1)) * size).half()
    assert size < 100 or (inputs @ weight.half().T).isinf().any()
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
@pytest.mark.parametrize("vectors", [2, 500, 2000])
@pytest.mark.parametrize(("rows", "columns"), [(512, 256), (256, 704)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_converted_weights_take_what_is_estimated(
    dtype: torch.dtype, vectors: int, rows: int, columns: int, has_bias: bool
) -> None:
    inputs, weight = torch.ones(vectors, columns, dtype=dtype), torch.zeros(rows, columns, dtype=torch.int8)
    scale, bias = torch.ones(rows), torch.zeros(rows) if has_bias else None
    with AllocationCounter() as counter:
        outputs = int8_by_conversion(inputs, weight, scale, bias)
    estimate = int8_conversion_bytes(vectors, rows, columns, dtype.itemsize) + outputs.nbytes
    assert 0.7 * estimate <= counter.memory.peak <= estimate
