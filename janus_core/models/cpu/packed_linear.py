"""CPU linear layers with prepacked 16-bit weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quantized.inference_linear import InferenceLinear, output_chunks

# oneDNN needs more time for fewer input vectors than this, not less (by a third for two on a Zen 4).
_MIN_VECTORS = 4

# Bounds the float32 copy of a weight while it is packed: a text head holds a tenth of a model's weights.
_MAX_PACKING_ELEMENTS = 2**25


class FbgemmFp16Linear(InferenceLinear):
    """Multiplies float32 by float16 weights, which FBGEMM's kernels convert in registers, on any x86 CPU.

    Float16 holds the weights of a bf16 checkpoint exactly, except those below 6e-5, which are off by 3e-8 at
    most, and those above 65504, which overflow.
    """

    staging_dtype = torch.float16
    needs_fbgemm = True

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        # The operator packs from float32, so a large weight is packed as several layers side by side.
        self.packed = []
        for chunk in output_chunks(weight, _MAX_PACKING_ELEMENTS):
            chunk_bias = None if bias is None else bias[chunk].float()
            self.packed.append(torch.ops.quantized.linear_prepack_fp16(weight[chunk].float(), chunk_bias))
        self.packed_bytes = 2 * weight.numel() + (0 if bias is None else 4 * bias.numel())

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype; the operator needs no reshape."""
        inputs = hidden_states.float()
        outputs = [torch.ops.quantized.linear_dynamic_fp16(inputs, chunk) for chunk in self.packed]
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)).to(hidden_states.dtype)


class OneDnnBf16Linear(InferenceLinear):
    """Multiplies in bf16 with weights in oneDNN's own layout, on a CPU with bf16 instructions.

    `nn.Linear` keeps its weight row-major, which oneDNN reads at half the speed for a few input vectors.
    """

    rounds_inputs = True
    exact_vectors = 32  # for more, oneDNN adds the products of long inputs in another order

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(weight, bias)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().bfloat16().contiguous(), None)
        self.bias = None if bias is None else bias.detach().bfloat16()
        self.packed_bytes = 2 * (weight.numel() + (0 if bias is None else bias.numel()))

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """See `InferenceLinear`: inputs and outputs in bf16."""
        return 2 * vectors * (self.in_features + self.out_features)

    def _multiply(self, inputs: Tensor) -> Tensor:
        inputs, count = inputs.bfloat16(), len(inputs)
        if count < _MIN_VECTORS:
            inputs = F.pad(inputs, (0, 0, 0, _MIN_VECTORS - count))
        return torch.ops.mkldnn._linear_pointwise(inputs, self.packed, self.bias, "none", [], "")[:count]
