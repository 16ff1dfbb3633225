"""A CPU linear layer with int8 weights that are packed for FBGEMM."""

from __future__ import annotations

import torch
from torch import Tensor

from ..quantized.inference_linear import InferenceLinear
from ..quantized.int8_linear import quantize_per_channel

# An input vector has an outlier if its peak exceeds its root mean square by more than this factor.
_OUTLIER_RATIO = 32

_TINY = torch.finfo(torch.float32).tiny


class FbgemmInt8Linear(InferenceLinear):
    """Int8 weights packed for FBGEMM's integer kernels, with inputs as precise as bf16.

    The kernels take 7-bit inputs. Inputs are therefore split into two 7-bit digits, which limits the rounding
    error to 2^-14 of a vector's peak. Where that is an outlier, a third digit keeps the others precise.
    """

    needs_fbgemm = True
    rounds_inputs = True

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        quantized, scale = quantize_per_channel(weight)
        zeros = torch.zeros(self.out_features, dtype=torch.long)
        quantized = torch._make_per_channel_quantized_tensor(quantized, scale, zeros, 0)
        self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.bias = None if bias is None else bias.float()
        self.packed_bytes = weight.numel() + 4 * self.out_features * (1 if bias is None else 2)

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """See `InferenceLinear`: three digits of the inputs, their products, and a sum."""
        return 4 * vectors * (3 * self.in_features + 4 * self.out_features)

    def _multiply(self, inputs: Tensor) -> Tensor:
        inputs = inputs.detach().float()
        peak = torch.linalg.vector_norm(inputs, torch.inf, dim=-1, keepdim=True)
        rms = torch.linalg.vector_norm(inputs, dim=-1, keepdim=True) * self.in_features**-0.5
        outliers = peak > _OUTLIER_RATIO * rms
        num_digits = 3 if bool(outliers.any()) else 2

        # Write the inputs in base 126: step * (digit_0 + digit_1 / 126 + ...), each digit from -63 to 63.
        digits = inputs.new_empty(num_digits, *inputs.shape)
        step = peak.div_(63).clamp_(min=_TINY)
        remainder = torch.div(inputs, step, out=digits[-1])
        for digit in digits[:-1]:
            torch.round(remainder, out=digit)
            remainder.sub_(digit).mul_(126)  # what is left becomes the last digit, which the kernel rounds
        if num_digits == 3:
            remainder.mul_(outliers)  # so that no other vector depends on those that are computed beside it

        # Multiply all digits in one call, so that the weights are read once. The kernel rounds its inputs to
        # unsigned integers: scale 1 keeps the digits' values, zero point 64 makes them positive.
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        *products, outputs = multiply(digits.flatten(0, 1), 1.0, 64, self.packed).chunk(num_digits)
        for product in reversed(products):
            outputs = torch.add(product, outputs, alpha=1 / 126)
        outputs.mul_(step)
        return outputs if self.bias is None else outputs.add_(self.bias)
