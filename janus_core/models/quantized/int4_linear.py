"""A linear layer with 4-bit weights in groups, as plain parameters that every device takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dequantize import dequantized
from .inference_linear import InferenceLinear, output_chunks
from .int4_fit import LEAST, fit_groups
from .kernels import INT4, int4_linear, working_bytes

# Weights that share a scale and a zero. The error of normally distributed weights is 7.2 % for 32 (5 bits per
# weight), 8.4 % for 64 (4.5 bits) and 9.4 % for 128 (4.25 bits).
GROUP = 64

# Bounds the float32 copies of a weight while it is fitted: small enough to stay in the CPU's cache.
_MAX_FITTED_ELEMENTS = 2**18


class Int4Linear(InferenceLinear):
    """4-bit weights, two to a byte; the layout is that of this package."""

    by_rows = True

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        factors = (self.out_features, self.in_features // GROUP)
        codes = weight.new_empty(self.out_features, self.in_features // 2, dtype=torch.uint8)
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.scale = nn.Parameter(weight.new_empty(factors, dtype=torch.bfloat16), requires_grad=False)
        self.zero = nn.Parameter(weight.new_empty(factors, dtype=torch.bfloat16), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)
        if not weight.is_meta:
            self.put(0, weight.detach())

    @staticmethod
    def takes(in_features: int) -> bool:
        """Whether the inputs make whole groups."""
        return in_features % GROUP == 0

    def put(self, start: int, weight: Tensor) -> None:
        """See `InferenceLinear`."""
        for chunk in output_chunks(weight, _MAX_FITTED_ELEMENTS):
            rows = weight[chunk].float()
            whole, scale, zero = fit_groups(rows.view(len(rows), -1, GROUP))
            low, high = (whole - LEAST).flatten(1).unflatten(1, (-1, 2)).unbind(-1)
            at = slice(start + chunk.start, start + chunk.start + len(rows))
            self.weight.data[at] = (low + 16 * high).to(torch.uint8)  # exact: whole numbers up to 255
            self.scale.data[at], self.zero.data[at] = scale[..., 0], zero[..., 0]

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype."""
        return self.product(hidden_states, self.weight, self.scale, self.zero, self.bias)

    @staticmethod
    def product(
        hidden_states: Tensor, weight: Tensor, scale: Tensor, zero: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Multiplies by weights that a host that offloads them may have moved."""
        return int4_linear(hidden_states, weight, scale, zero, GROUP, bias)

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """See `InferenceLinear`."""
        return working_bytes(INT4, device, dtype, vectors, self.out_features, self.in_features)


class Int4Embedding(Int4Linear):
    """Rows of 4-bit weights, looked up by their index in place of being multiplied."""

    replaces = nn.Embedding

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids [...] to rows [..., in] in bfloat16."""
        return self.look_up(ids.flatten()).view(*ids.shape, self.in_features)

    def look_up(self, ids: Tensor) -> Tensor:
        """Maps ids [n] to rows [n, in] in bfloat16."""
        return dequantized(self.weight[ids], self.scale[ids], self.zero[ids], GROUP, torch.bfloat16)

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """See `InferenceLinear`: a text has few tokens."""
        return 0
