"""Integer kernels: the formula within the stated error, beside outliers, and in few launches and bytes."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.models.quantized.dequantize import int8_by_conversion
from janus_nodes.janus_core.models.quantized.integer_products import (
    digits_bytes,
    int8_by_digits,
    int8_on_cpu,
    on_cpu_bytes,
)
from support.allocations import AllocationCounter
from support.simulated_cuda import simulated_cuda
from torch import Tensor

DTYPES = {torch.float32: 2e-6, torch.bfloat16: 3e-3, torch.float16: 3e-4}  # half a step of the outputs


def case(vectors: int, dtype: torch.dtype, columns: int = 512) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, weight, scale and bias."""
    generator = torch.Generator().manual_seed(vectors)
    inputs = torch.randn(vectors, columns + 5, generator=generator)[:, 5:].to(dtype)  # not contiguous
    weight = torch.randint(-128, 128, (72, columns), generator=generator).to(torch.int8)
    return inputs, weight, torch.rand(72, generator=generator) / 100, torch.randn(72, generator=generator)


def exact(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """The formula, in float64."""
    outputs = inputs.double() @ (weight.double() * scale.double()[:, None]).T
    return outputs if bias is None else outputs + bias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [0, 1, 10, 11, 64])
@pytest.mark.parametrize("has_bias", [False, True])
def test_products_by_digits_equal_the_formula(dtype: torch.dtype, vectors: int, has_bias: bool) -> None:
    inputs, weight, scale, bias = case(vectors, dtype)
    given = (inputs, weight, scale, bias if has_bias else None)
    outputs, expected = int8_by_digits(*given), exact(*given)
    assert outputs.dtype is dtype and outputs.shape == expected.shape
    assert (outputs.double() - expected).norm() <= DTYPES[dtype] * expected.norm()
    today = int8_by_conversion(*given).double() - expected
    assert dtype is torch.float32 or (outputs.double() - expected).norm() <= today.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("outlier", [1.0, 50.0, 3000.0])
def test_elements_beside_an_outlier_stay_precise(dtype: torch.dtype, outlier: float) -> None:
    inputs, weight, scale, _ = case(3, dtype)
    inputs[1, 7], weight[:, 7] = outlier, 0  # so that the outlier does not hide the error of the others
    outputs, expected = int8_by_digits(inputs, weight, scale, None), exact(inputs, weight, scale, None)
    error = (outputs.double() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() <= DTYPES[dtype]


def test_peaks_of_any_size_have_three_digits() -> None:
    # The division by the step is rounded: none may exceed the largest whole number.
    peaks = torch.logspace(-30, 30, 20_000)[:, None] * torch.tensor([1.0, -1.0] * 8)
    outputs = int8_by_digits(peaks, torch.eye(16, dtype=torch.int8), torch.ones(16), None)
    torch.testing.assert_close(outputs, peaks, rtol=2e-7, atol=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_not_hidden(value: float) -> None:
    inputs, weight, scale, _ = case(2, torch.bfloat16)
    inputs[1, 3] = value
    finite = int8_by_digits(inputs, weight, scale, None).isfinite()
    assert finite[0].all() and not finite[1].any()


def test_a_product_by_digits_launches_16_kernels_and_waits_for_none() -> None:
    inputs, weight, scale, _ = case(2, torch.bfloat16)
    with torch.inference_mode(), simulated_cuda() as counts:
        given = [part.to("cuda") for part in (inputs, weight, scale)]
        counts.reset()
        int8_by_digits(*given, None)
    assert (counts.num_kernels, counts.num_waits, counts.to_device.total()) == (16, 0, 0), counts


@pytest.mark.parametrize(("vectors", "columns"), [(1, 512), (1, 64), (64, 512), (64, 64)])
def test_a_product_takes_what_is_estimated(vectors: int, columns: int) -> None:
    inputs, weight, scale, bias = case(vectors, torch.float32, columns)
    for product, estimated in ((int8_by_digits, digits_bytes), (int8_on_cpu, on_cpu_bytes)):
        with torch.inference_mode(), AllocationCounter() as counter:
            outputs = product(inputs, weight, scale, bias)
        estimate = estimated(vectors, *weight.shape) + outputs.nbytes
        assert 0.7 * estimate <= counter.memory.peak <= 1.05 * estimate, product


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_on_cpus_round_inputs_to_bf16(dtype: torch.dtype) -> None:
    inputs, weight, scale, bias = case(5, dtype)
    outputs, expected = int8_on_cpu(inputs, weight, scale, bias), exact(inputs, weight, scale, bias)
    assert outputs.dtype is dtype
    assert (outputs.double() - expected).norm() <= 4e-3 * expected.norm()
