"""A linear layer with 8-bit weights, one scale per output channel, as plain parameters of any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .inference_linear import InferenceLinear, output_chunks
from .kernels import INT8, int8_linear, working_bytes

# Bounds the float32 copy of a weight while it is quantized: small enough to stay in the CPU's cache.
_MAX_QUANTIZING_ELEMENTS = 2**20

_TINY = torch.finfo(torch.float32).tiny


class Int8Linear(InferenceLinear):
    """8-bit weights; the layout is that of this package."""

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
        return self.product(hidden_states, self.weight, self.scale, self.bias)

    @staticmethod
    def product(hidden_states: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Multiplies by weights that a host that offloads them may have moved."""
        return int8_linear(hidden_states, weight, scale, bias)

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """See `InferenceLinear`."""
        return working_bytes(INT8, device, dtype, vectors, self.out_features, self.in_features)


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
