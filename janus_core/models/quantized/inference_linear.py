"""The base class of all linear layers that replace `nn.Linear` for inference: packed, and quantized."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn


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


def output_chunks(weight: Tensor, max_elements: int) -> Iterator[slice]:
    """Slices over the output channels of a weight [out, in], of about `max_elements` elements each."""
    size = max(1, max_elements // weight.shape[1])
    return (slice(start, start + size) for start in range(0, len(weight), size))
