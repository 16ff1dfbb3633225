"""Products with 4-bit weights: the first kernel of a table that gives the right results on a device."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_log = logging.getLogger(__name__)

Int4Product = Callable[[Tensor, Tensor, Tensor, Tensor, int, Tensor | None], Tensor]
"""Maps inputs [M, K], weight, scale, zero, group size and bias [N] to [M, N] of the same dtype."""

# How far outputs may be from the widened form: both are rounded to 16 bits, and added up in another order.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Kernel:
    """A way to multiply by 4-bit weights.

    Attributes:
        name: for log lines.
        device_types: where it may run; whether it does is tried.
        int4: the product.
        max_vectors: the most input vectors for which it is the fastest.
        widens: whether it converts the whole weight first.
    """

    name: str
    device_types: frozenset[str]
    int4: Int4Product
    max_vectors: int = sys.maxsize
    widens: bool = False


def widened(weight: Tensor, scale: Tensor, zero: Tensor, group: int, dtype: torch.dtype) -> Tensor:
    """Converts weights from 4 bits: [N, K] of a float dtype, rounded once."""
    codes = torch.stack((weight & 15, weight >> 4), dim=-1).to(dtype).sub_(8).view(len(weight), -1, group)
    values = torch.addcmul(zero.to(dtype)[..., None], codes, scale.to(dtype)[..., None], out=codes)
    return values.view(len(weight), -1)


def _multiply_widened(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    values = widened(weight, scale, zero, group, inputs.dtype)
    return F.linear(inputs, values, None if bias is None else bias.to(inputs.dtype))


_WIDENED = Kernel("widened", frozenset(), _multiply_widened, widens=True)  # runs on every device

# The first one that runs is taken.
KERNELS: tuple[Kernel, ...] = ()


def int4_linear(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    """Maps [..., K] to [..., N] of the same dtype; the layout of the weights is that of this package."""
    vectors = inputs.reshape(-1, inputs.shape[-1])
    kernel = fastest(inputs.device, len(vectors))
    outputs = kernel.int4(vectors, weight, scale, zero, group, bias)
    return outputs.view(*inputs.shape[:-1], len(weight))


def fastest(device: torch.device, vectors: int) -> Kernel:
    """The kernel for some input vectors on a device."""
    return next((kernel for kernel in _usable(device) if vectors <= kernel.max_vectors), _WIDENED)


def conversion_bytes(weight: Tensor, vectors: int, itemsize: int) -> int:
    """Working memory beside inputs and outputs: codes of one byte beside those in the dtype."""
    widens = fastest(weight.device, vectors).widens
    return 2 * weight.numel() * (1 + itemsize) if widens else 0


@cache
def _usable(device: torch.device) -> tuple[Kernel, ...]:
    """The kernels that run on a device and are right there, found once by a small product."""
    return tuple(
        kernel for kernel in KERNELS if device.type in kernel.device_types and _is_right(kernel, device)
    )


def _is_right(kernel: Kernel, device: torch.device) -> bool:
    group, (rows, columns) = 64, (64, 256)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(0, 256, (rows, columns // 2), generator=generator).to(device, torch.uint8)
    factors = torch.rand(2, rows, columns // group, generator=generator).to(device, torch.bfloat16)
    inputs = torch.randn(3, columns, generator=generator).to(device, torch.bfloat16)
    arguments = (inputs, weight, *factors, group, None)
    try:
        found, expected = kernel.int4(*arguments).float(), _multiply_widened(*arguments).float()
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        _log.info("the %s kernel does not run on %s: %s", kernel.name, device, error)
        return False
    return bool((found - expected).norm() <= _TOLERANCE * expected.norm())
