"""Products with 8-bit weights by PyTorch's own integer kernels, for CUDA and for CPUs."""

from __future__ import annotations

import torch
from torch import Tensor

from .dequantize import scaled

# Three digits of base 256, each from -128 to 127: half of the range of each; and the largest whole number,
# somewhat less than three digits can hold, since the division by the step is rounded.
_HALVES, _MOST = 0x808080, 0x7F0000
_DIGITS = 3

# CUDA's kernel takes more than 16 rows.
_ROW_BLOCK = 32

_TINY = torch.finfo(torch.float32).tiny


def int8_by_digits(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Maps [M, K] to [M, N] of the same dtype by products of whole numbers; N and K are multiples of 8.

    The inputs are rounded to 24 bits, relative to the peak of their vector. So all are as precise as in bf16
    beside an outlier 32,000 times as large, and none has to be looked for, which would make the host wait.
    The weights are read once, for all digits.
    """
    digits, step = _digits(inputs)
    rows = _DIGITS * len(inputs)
    # Sums of whole numbers below 2^14: exact in 32 bits for fewer than 2^17 inputs.
    low, middle, high = torch._int_mm(digits, weight.T)[:rows].float().view(_DIGITS, len(inputs), len(weight))
    outputs = low.add_(middle, alpha=2**8).add_(high, alpha=2**16).mul_(step).mul_(scale)
    return (outputs if bias is None else outputs.add_(bias)).to(inputs.dtype)


def digits_bytes(vectors: int, outputs: int, inputs: int) -> int:
    """Working memory of `int8_by_digits`: inputs of 4 bytes twice, or with digits; these with products."""
    rows, whole = _padded(vectors), 4 * vectors * inputs
    digits, products = rows * inputs, 4 * (rows + _DIGITS * vectors) * outputs
    return max(2 * whole, whole + digits, digits + products)


def _digits(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Writes inputs [M, K] as sums of digit * 256^place * step.

    Returns:
        The digits int8 [3 * M and more, K], the lowest of all vectors first; other rows have no meaning.
        The step [M, 1] of each vector in float32.
    """
    peak = torch.linalg.vector_norm(inputs, torch.inf, dim=-1, keepdim=True, dtype=torch.float32)
    step = peak.div_(_MOST).clamp_(min=_TINY)
    whole = torch.div(inputs, step).round_().to(torch.int32)
    # The sum makes every byte a digit + 128, and changes to its highest bit make it the digit.
    by_element = whole.add_(_HALVES).bitwise_xor_(_HALVES).view(torch.int8).unflatten(-1, (-1, 4))
    digits = torch.empty(_padded(len(inputs)), inputs.shape[1], dtype=torch.int8, device=inputs.device)
    by_digit = digits[: _DIGITS * len(inputs)].view(_DIGITS, *inputs.shape)
    by_digit.copy_(by_element[..., :_DIGITS].permute(2, 0, 1))
    return digits, step


def _padded(vectors: int) -> int:
    """The rows of a product with all digits of some vectors."""
    return _ROW_BLOCK * (_DIGITS * vectors // _ROW_BLOCK + 1)


def int8_on_cpu(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Maps [M, K] to [M, N] of the same dtype; K is a multiple of 32."""
    # The kernel is fast only in bf16, and would round the scales to it: they are applied afterwards.
    rounded = inputs.bfloat16().contiguous()
    products = torch._weight_int8pack_mm(rounded, weight, rounded.new_ones(len(weight)))
    return scaled(products, scale, bias).to(inputs.dtype)


def on_cpu_bytes(vectors: int, outputs: int, inputs: int) -> int:
    """Working memory of `int8_on_cpu`: inputs and products in bf16, and outputs in float32 with a bias."""
    return vectors * (2 * inputs + 10 * outputs)
