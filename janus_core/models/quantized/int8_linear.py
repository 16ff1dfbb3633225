"""Linear layers with weight-only int8 quantization: one scale per output channel, no calibration."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .inference_linear import InferenceLinear, output_chunks
from .kernels import fastest, may_dequantize

# For more input vectors than this, converting the weight first is faster than PyTorch's int8 kernel.
_MAX_KERNEL_VECTORS = 128
_KERNEL_BLOCK = 32  # input elements that the kernel reads at a time; it reads past the end of shorter rows

_FP16_DIVISOR = 128

# Bounds the float32 copy of a weight while it is quantized: small enough to stay in the CPU's cache.
_MAX_QUANTIZING_ELEMENTS = 2**20

_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(InferenceLinear):
    """Int8 weights as plain parameters, which work on every device and can be moved between devices."""

    by_rows = True

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        quantized, scale = quantize_per_channel(weight)
        self.weight = nn.Parameter(quantized, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)

    def put(self, start: int, weight: Tensor) -> None:
        """See `InferenceLinear`."""
        rows = slice(start, start + len(weight))
        self.weight.data[rows], self.scale.data[rows] = quantize_per_channel(weight)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype."""
        has_kernel = hidden_states.device.type == "cpu" and self.in_features % _KERNEL_BLOCK == 0
        if has_kernel and hidden_states.shape[:-1].numel() <= _MAX_KERNEL_VECTORS:
            return super().forward(hidden_states)
        kernel = fastest(hidden_states.device, hidden_states.dtype, hidden_states.shape[:-1].numel())
        if kernel is not None:
            vectors = hidden_states.reshape(-1, self.in_features)
            outputs = kernel.int8(vectors, self.weight, self.scale, self.bias)
            return outputs.view(*hidden_states.shape[:-1], self.out_features)
        products = self.products(hidden_states, self.weight.to(hidden_states.dtype))
        return self.scaled(products, self.scale, self.bias).to(hidden_states.dtype)

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """See `InferenceLinear`: weight and divided inputs in their dtype, then float32 outputs."""
        if not may_dequantize(device, dtype, vectors):
            return 0
        converted = (self.weight.numel() + vectors * self.in_features) * dtype.itemsize
        return max(converted, 8 * vectors * self.out_features)

    def _multiply(self, inputs: Tensor) -> Tensor:
        # The kernel is fast only in bf16, and would round the scales to it: they are applied afterwards.
        inputs = inputs.bfloat16().contiguous()
        products = torch._weight_int8pack_mm(inputs, self.weight, inputs.new_ones(self.out_features))
        return self.scaled(products, self.scale, self.bias)

    @staticmethod
    def products(inputs: Tensor, weight: Tensor) -> Tensor:
        """Products [..., out] of inputs and int8 weights converted to their dtype, for `scaled`.

        In fp16, products with whole numbers up to 127 would overflow where outputs do not: they are divided.
        """
        return F.linear(inputs / _FP16_DIVISOR if inputs.dtype is torch.float16 else inputs, weight)

    @staticmethod
    def scaled(products: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Float32 outputs [..., out] of the products [..., out] of inputs and int8 weights."""
        if products.dtype is torch.float16:
            scale = scale * _FP16_DIVISOR
        outputs = products * scale  # in float32, as the scale is
        return outputs if bias is None else outputs + bias


def quantize_per_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds a weight [out, in] to int8, and returns it with the scale of each output channel [out]."""
    quantized = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), device=weight.device)
    if weight.is_meta:  # nothing to compute, and PyTorch would import 80 MB of its compiler for that
        return quantized, scale
    for chunk in output_chunks(weight, _MAX_QUANTIZING_ELEMENTS):
        exact = weight[chunk].float()
        scale[chunk] = (exact.abs().amax(dim=1) / 127).clamp(min=_TINY)
        quantized[chunk] = (exact / scale[chunk, None]).round_()
    return quantized, scale
