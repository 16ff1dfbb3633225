"""Products with quantized weights that are converted to the inputs' dtype first, as every device can."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# In fp16, products with whole numbers up to 127 would overflow where outputs do not: they are divided. So
# outputs overflow from 65,504 times the largest weight of their channel.
_FP16_DIVISOR = 128


def int8_by_conversion(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Maps [M, K] to [M, N] of the same dtype."""
    # The divided inputs have no name, so that they are released before the outputs are scaled.
    products = F.linear(
        inputs / _FP16_DIVISOR if inputs.dtype is torch.float16 else inputs, weight.to(inputs.dtype)
    )
    if inputs.dtype is torch.float16:
        scale = scale * _FP16_DIVISOR
    return scaled(products, scale, bias).to(inputs.dtype)


def scaled(products: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Float32 outputs [M, N] of the products [M, N] of inputs and int8 weights."""
    outputs = products * scale  # in float32, as the scale is
    return outputs if bias is None else outputs + bias


def int8_conversion_bytes(vectors: int, outputs: int, inputs: int, itemsize: int) -> int:
    """Working memory: the weight and divided inputs in the inputs' dtype, then float32 outputs and scales."""
    return max((outputs * inputs + vectors * inputs) * itemsize, (8 * vectors + 4) * outputs)


def dequantized(weight: Tensor, scale: Tensor, zero: Tensor, group: int, dtype: torch.dtype) -> Tensor:
    """Converts weights from 4 bits: [N, K] of a float dtype, rounded once."""
    # Both codes of a byte times 16, since Macs do not shift uint8 before PyTorch 2.6: exact in every dtype.
    codes = torch.stack(((weight & 15) * 16, weight & 240), dim=-1).to(dtype)
    codes = codes.sub_(128).view(*scale.shape, group)
    zero, scale = zero.to(dtype)[..., None], scale.to(dtype)[..., None]
    values = torch.addcmul(zero, codes, scale, value=1 / 16, out=codes)
    return values.flatten(1)


def int4_by_conversion(
    inputs: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, group: int, bias: Tensor | None
) -> Tensor:
    """Maps [M, K] to [M, N] of the same dtype."""
    values = dequantized(weight, scale, zero, group, inputs.dtype)
    return F.linear(inputs, values, None if bias is None else bias.to(inputs.dtype))


def int4_conversion_bytes(vectors: int, outputs: int, inputs: int, itemsize: int) -> int:
    """Working memory: codes of one byte beside those in the inputs' dtype."""
    return outputs * inputs * (1 + itemsize)
