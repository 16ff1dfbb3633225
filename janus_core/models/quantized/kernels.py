"""Products with 8-bit and 4-bit weights: the first kernel of a table that is right on a device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..devices import is_out_of_memory

_log = logging.getLogger(__name__)

Int8Product = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Maps inputs [M, K], weight [N, K] int8, scale [N] and bias [N] to [M, N] of the inputs' dtype."""

Int4Product = Callable[[Tensor, Tensor, Tensor, Tensor, int, Tensor | None], Tensor]
"""Maps inputs [M, K], weight, scale, zero, group size and bias [N] to [M, N] of the inputs' dtype."""

# How far outputs may be from the dequantized form: both are rounded, and add up in another order.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Kernel:
    """A way to multiply by quantized weights without converting all of them first.

    Attributes:
        name: for log lines.
        device_types: where it may run; whether it does is tried.
        int8: the product with 8-bit weights.
        int4: the product with 4-bit weights.
        max_vectors: the most input vectors for which it is faster than to dequantize the weights.
    """

    name: str
    device_types: frozenset[str]
    int8: Int8Product
    int4: Int4Product
    max_vectors: int


def _triton_int8(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    from .triton_kernels import int8_product

    return int8_product(inputs, weight, scale, bias)


def _triton_int4(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    from .triton_kernels import int4_product

    return int4_product(inputs, weight, scale, zero, group, bias)


# The first one that runs is taken.
#
# Triton reads 1 byte of an 8-bit weight, and half of one of a 4-bit weight. To dequantize one reads that,
# writes 2 bytes, and reads them again: 5 and 9 times as many, for any number of vectors. Up to 64 vectors are
# one block of a program, with 128 operations per weight: a card does these about as fast as it reads 8-bit
# weights (RTX 4090: 165 Tflop/s, 1 TB/s). For more, it would read the weights again for each block.
KERNELS: tuple[Kernel, ...] = (
    Kernel("Triton", frozenset({"cuda", "xpu"}), _triton_int8, _triton_int4, max_vectors=64),
)


def dequantized(weight: Tensor, scale: Tensor, zero: Tensor, group: int, dtype: torch.dtype) -> Tensor:
    """Converts weights from 4 bits: [N, K] of a float dtype, rounded once."""
    # Both codes of a byte times 16, since Macs do not shift uint8 before PyTorch 2.6: exact in every dtype.
    codes = torch.stack(((weight & 15) * 16, weight & 240), dim=-1).to(dtype)
    codes = codes.sub_(128).view(*scale.shape, group)
    zero, scale = zero.to(dtype)[..., None], scale.to(dtype)[..., None]
    values = torch.addcmul(zero, codes, scale, value=1 / 16, out=codes)
    return values.flatten(1)


def _multiply_dequantized(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    values = dequantized(weight, scale, zero, group, inputs.dtype)
    return F.linear(inputs, values, None if bias is None else bias.to(inputs.dtype))


def int4_linear(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    """Maps [..., K] to [..., N] of the same dtype; the layout of the weights is that of this package."""
    vectors = inputs.reshape(-1, inputs.shape[-1])
    kernel = fastest(inputs.device, inputs.dtype, len(vectors))
    multiply = _multiply_dequantized if kernel is None else kernel.int4
    outputs = multiply(vectors, weight, scale, zero, group, bias)
    return outputs.view(*inputs.shape[:-1], len(weight))


def fastest(device: torch.device, dtype: torch.dtype, vectors: int) -> Kernel | None:
    """The kernel for some input vectors of a dtype on a device; None where weights are dequantized."""
    return next((kernel for kernel in _usable(device, dtype) if vectors <= kernel.max_vectors), None)


def may_dequantize(device: torch.device, dtype: torch.dtype, vectors: int) -> bool:
    """Whether a run may convert weights: also where there is no memory yet to find out."""
    try:
        return fastest(device, dtype, vectors) is None
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return True


def conversion_bytes(weight: Tensor, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
    """Working memory beside inputs and outputs: codes of one byte beside those in the dtype."""
    return 2 * weight.numel() * (1 + dtype.itemsize) if may_dequantize(device, dtype, vectors) else 0


@cache
def _usable(device: torch.device, dtype: torch.dtype) -> tuple[Kernel, ...]:
    """The kernels that run on a device and are right there, found once by small products."""
    kernels = [kernel for kernel in KERNELS if device.type in kernel.device_types]
    if kernels and (numbered := torch.empty(0, device=device).device) != device:
        return _usable(numbered, dtype)  # "cuda" is the same as "cuda:0"
    return tuple(kernel for kernel in kernels if _is_right(kernel, device, dtype))


def _is_right(kernel: Kernel, device: torch.device, dtype: torch.dtype) -> bool:
    group, (outputs, columns) = 64, (64, 256)
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device="cpu")

    codes = torch.randint(0, 256, (outputs, columns // 2), generator=generator, device="cpu")
    packed, signed = codes.to(device, torch.uint8), (codes - 128).to(device, torch.int8)
    scale, zero = random(2, outputs, columns // group).to(device, torch.bfloat16)
    factors = random(outputs).to(device)
    for vectors in (3, kernel.max_vectors):  # the fewest and the most that it holds at once
        inputs = random(vectors, columns).to(device, dtype)
        half = inputs[:, : columns // 2].contiguous()
        try:
            found = kernel.int4(inputs, packed, scale, zero, group, None)
            found8 = kernel.int8(half, signed, factors, None)
        except Exception as error:  # of compilers and drivers, which have classes of their own
            if is_out_of_memory(error):
                raise  # it may run once there is memory
            _log.info("weights are dequantized on %s, where %s does not run: %s", device, kernel.name, error)
            return False
        exact = _multiply_dequantized(inputs, packed, scale, zero, group, None)
        exact8 = half.float() @ signed.float().T * factors
        if not (_is_near(found, exact) and _is_near(found8, exact8)):
            _log.warning("weights are dequantized on %s, where %s is wrong in %s", device, kernel.name, dtype)
            return False
    return True


def _is_near(found: Tensor, expected: Tensor) -> bool:
    difference = (found.float() - expected.float()).norm()
    return bool(difference <= _TOLERANCE * expected.float().norm())
