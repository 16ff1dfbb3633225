"""Products with 8-bit and 4-bit weights: the first kernel of a table that is right on a device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..devices import is_out_of_memory
from .dequantize import int4_by_conversion, int4_conversion_bytes, int8_by_conversion, int8_conversion_bytes
from .integer_products import digits_bytes, int8_by_digits, int8_on_cpu, on_cpu_bytes

_log = logging.getLogger(__name__)

Product = Callable[..., Tensor]
"""Maps inputs [M, K], weight and what belongs to it to [M, N] of the inputs' dtype."""

# How far outputs may be from those of dequantized weights: both are rounded, and added up in another order.
_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Kernel:
    """A way to multiply by quantized weights without converting all of them first.

    Attributes:
        name: for log lines.
        device_types: where it may run; whether it does is tried.
        product: what it computes.
        max_vectors: the most input vectors for which it is faster than to dequantize the weights.
        takes: whether it can multiply by N x K weights, and is faster for that size.
        working_bytes: beside inputs and outputs, for M vectors and N x K weights.
    """

    name: str
    device_types: frozenset[str]
    product: Product
    max_vectors: int
    takes: Callable[[int, int], bool] = lambda outputs, inputs: True
    working_bytes: Callable[[int, int, int], int] = lambda vectors, outputs, inputs: 0


@dataclass(frozen=True, eq=False)
class Format:
    """A form of quantized weights.

    Attributes:
        name: for log lines.
        kernels: the first one that runs is taken.
        by_conversion: the product where none does.
        conversion_bytes: what that takes beside inputs and outputs, for M vectors, N x K weights, and inputs
            of some bytes.
        weights: what follows the inputs in a product that tries a kernel, for N x K weights.
    """

    name: str
    kernels: tuple[Kernel, ...]
    by_conversion: Product
    conversion_bytes: Callable[[int, int, int, int], int]
    weights: Callable[[int, int], tuple[Any, ...]]


def _triton_int8(*arguments: Any) -> Tensor:
    from .triton_kernels import int8_product

    return int8_product(*arguments)


def _triton_int4(*arguments: Any) -> Tensor:
    from .triton_kernels import int4_product

    return int4_product(*arguments)


def _random_int8(outputs: int, inputs: int) -> tuple[Any, ...]:
    codes, scale = _random_bytes(outputs, inputs), torch.rand(outputs, generator=_seeded(), device="cpu")
    return (codes - 128).to(torch.int8), scale, None


def _random_int4(outputs: int, inputs: int) -> tuple[Any, ...]:
    factors = torch.randn(2, outputs, inputs // 64, generator=_seeded(), device="cpu").bfloat16()
    return _random_bytes(outputs, inputs // 2).to(torch.uint8), *factors, 64, None


def _random_bytes(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=_seeded(), device="cpu")


def _seeded() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(0)


# To dequantize weights of 8 or 4 bits reads 1 or 0.5 bytes of each, writes 2, and reads them again: 5 or 4.5
# bytes for any number of vectors.
#
# Triton reads them once, in one launch. Up to 64 vectors are one block of a program, with 128 operations per
# weight: a card does these about as fast as it reads 8-bit weights (RTX 4090: 165 Tflop/s, 1 TB/s). For more,
# it would read the weights again for each block.
#
# `_int_mm` also reads 8-bit weights once, but in 16 launches in place of 4. 2**24 weights are the least for
# which that is faster: 4 bytes less of each take 67 to 170 us (1 TB/s to 400 GB/s), and 12 launches 60 to
# 120 us of the host. So it takes all layers of Janus-Pro-7B's blocks, and the widest of 1B's.
INT8 = Format(
    "8-bit",
    (
        Kernel("Triton", frozenset({"cuda", "xpu"}), _triton_int8, max_vectors=64),
        Kernel(
            "_int_mm",
            frozenset({"cuda"}),
            int8_by_digits,
            max_vectors=64,
            takes=lambda outputs, inputs: outputs % 8 == inputs % 8 == 0 and outputs * inputs >= 2**24,
            working_bytes=digits_bytes,
        ),
        # It reads inputs in blocks of 32, also past the end of shorter rows.
        Kernel(
            "_weight_int8pack_mm",
            frozenset({"cpu"}),
            int8_on_cpu,
            max_vectors=128,
            takes=lambda outputs, inputs: inputs % 32 == 0,
            working_bytes=on_cpu_bytes,
        ),
    ),
    int8_by_conversion,
    int8_conversion_bytes,
    _random_int8,
)
INT4 = Format(
    "4-bit",
    (Kernel("Triton", frozenset({"cuda", "xpu"}), _triton_int4, max_vectors=64),),
    int4_by_conversion,
    int4_conversion_bytes,
    _random_int4,
)


def int8_linear(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Maps [..., K] to [..., N] of the same dtype; the layout of the weights is that of this package."""
    return _linear(INT8, inputs, weight, scale, bias)


def int4_linear(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    """Maps [..., K] to [..., N] of the same dtype; the layout of the weights is that of this package."""
    return _linear(INT4, inputs, weight, scale, zero, group, bias)


def _linear(form: Format, inputs: Tensor, weight: Tensor, *others: Any) -> Tensor:
    vectors = inputs.reshape(-1, inputs.shape[-1])
    kernel = fastest(form, inputs.device, inputs.dtype, len(vectors), len(weight), inputs.shape[-1])
    product = form.by_conversion if kernel is None else kernel.product
    return product(vectors, weight, *others).view(*inputs.shape[:-1], len(weight))


def fastest(
    form: Format, device: torch.device, dtype: torch.dtype, vectors: int, outputs: int, inputs: int
) -> Kernel | None:
    """The kernel for some vectors of a dtype and N x K weights; None where weights are dequantized."""
    for kernel in form.kernels:
        is_meant = device.type in kernel.device_types and vectors <= kernel.max_vectors
        if is_meant and kernel.takes(outputs, inputs) and _is_right(form, kernel, device, dtype):
            return kernel
    return None


def working_bytes(
    form: Format, device: torch.device, dtype: torch.dtype, vectors: int, outputs: int, inputs: int
) -> int:
    """What a product takes beside inputs and outputs: also where there is no memory yet to try kernels."""
    try:
        kernel = fastest(form, device, dtype, vectors, outputs, inputs)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        kernel = None
    if kernel is None:
        return form.conversion_bytes(vectors, outputs, inputs, dtype.itemsize)
    return kernel.working_bytes(vectors, outputs, inputs)


@cache
def _is_right(form: Format, kernel: Kernel, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a kernel runs on a device and is right there, found once by small products."""
    if (numbered := torch.empty(0, device=device).device) != device:
        return _is_right(form, kernel, numbered, dtype)  # "cuda" is the same as "cuda:0"
    weights = [part.to(device) if isinstance(part, Tensor) else part for part in form.weights(64, 256)]
    for vectors in (3, kernel.max_vectors):  # the fewest and the most that it holds at once
        inputs = torch.randn(vectors, 256, generator=_seeded(), device="cpu").to(device, dtype)
        try:
            found = kernel.product(inputs, *weights).float()
        except Exception as error:  # of compilers and drivers, which have classes of their own
            if is_out_of_memory(error):
                raise  # it may run once there is memory
            _log.info("%s of %s weights is not used on %s: %s", kernel.name, form.name, device, error)
            return False
        expected = form.by_conversion(inputs, *weights).float()
        if not bool((found - expected).norm() <= _TOLERANCE * expected.norm()):
            _log.warning("%s of %s weights is wrong in %s on %s", kernel.name, form.name, dtype, device)
            return False
    return True
