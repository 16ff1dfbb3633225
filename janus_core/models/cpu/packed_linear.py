"""CPU linear layers with prepacked 16-bit weights, and the base class of all packed and quantized layers."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# oneDNN needs more time for fewer input vectors than this, not less (by a third for two on a Zen 4).
_MIN_VECTORS = 4

# Bounds the float32 copy of a weight while it is packed: a text head holds a tenth of a model's weights.
_MAX_PACKING_ELEMENTS = 2**25


class InferenceLinear(nn.Module):
    """Base of the layers that replace `nn.Linear` for inference; they cannot be trained."""

    replaces: type[nn.Module] = nn.Linear
    staging_dtype = torch.bfloat16  # in which a loader reads the weight, before it constructs the layer
    packed_bytes = 0  # of the weight and bias, where they are not parameters
    needs_fbgemm = False  # PyTorch's quantized backend for x86 CPUs
    rounds_inputs = False  # so coarsely that the last bit of one often matters
    by_rows = False  # whether it can be made on `meta`, and given its weight some rows at a time, by `put`
    exact_vectors = sys.maxsize  # most in one call for which no result depends on the others

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Packs or quantizes a weight [out, in] and a bias [out], both of any float dtype."""
        super().__init__()
        self.out_features, self.in_features = weight.shape

    @classmethod
    @cache
    def is_available(cls) -> bool:
        """Whether this CPU and this PyTorch release can run the layer, found by running a small one.

        PyTorch 2.13 warns about the first quantized tensor of a process, which is created and silenced here.
        Layers packed later, possibly in threads, thus need no warnings filter, which is not thread-safe.
        """
        if cls.needs_fbgemm and torch.backends.quantized.engine not in ("x86", "fbgemm"):
            return False
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, .* are deprecated", UserWarning)
            try:
                cls(torch.ones(64, 64), torch.ones(64))(torch.ones(1, 64))
                return True
            except (AttributeError, RuntimeError, TypeError):  # no operator, no such CPU, another signature
                return False

    @staticmethod
    def takes(in_features: int) -> bool:
        """Whether the layer can have this many inputs."""
        return True

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype."""
        outputs = self._multiply(hidden_states.reshape(-1, self.in_features))
        return outputs.view(*hidden_states.shape[:-1], self.out_features).to(hidden_states.dtype)

    def conversion_bytes(self, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
        """Working memory beside inputs and outputs for some input vectors of a dtype on a device."""
        return 0

    def put(self, start: int, weight: Tensor) -> None:
        """Quantizes some rows [n, in] of any float dtype, the first one being row `start`."""
        raise NotImplementedError

    def _multiply(self, inputs: Tensor) -> Tensor:
        """Maps vectors [N, in] to [N, out] of any float dtype."""
        raise NotImplementedError


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


def output_chunks(weight: Tensor, max_elements: int) -> Iterator[slice]:
    """Slices over the output channels of a weight [out, in], of about `max_elements` elements each."""
    size = max(1, max_elements // weight.shape[1])
    return (slice(start, start + size) for start in range(0, len(weight), size))
