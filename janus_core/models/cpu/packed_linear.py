"""Linear layers with weights of 2 bytes in the order in which a processor's kernels read them fastest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# With fewer rows than this, oneDNN's kernels take more time, not less (by a third for two rows on a Zen 4).
_ENOUGH_ROWS = 4

# Weights whose float32 copy may exist while they are packed: text heads are a tenth of a model.
_WIDENED_AT_ONCE = 2**25


class FbgemmFp16Linear(nn.Module):
    """Multiplies float32 by weights of 2 bytes, on any CPU.

    The weights are float16 in the order of FBGEMM's kernels, which widen them in registers. Numbers of a bf16
    checkpoint are the same in float16, but for those below 6e-5, which are off by 3e-8 at most, and those
    above 65504, which it cannot hold.
    """

    staging_dtype = torch.float16  # what weights are read as, on their way here

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Packs a weight.

        Args:
            weight: [out, in], any float dtype.
            bias: [out], or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        wide_bias = None if bias is None else bias.float()
        self.packed = [
            torch.ops.quantized.linear_prepack_fp16(
                weight[start:stop].float(), None if wide_bias is None else wide_bias[start:stop]
            )
            for start, stop in row_blocks(weight, _WIDENED_AT_ONCE)
        ]
        self.packed_bytes = 2 * weight.numel() + (0 if bias is None else 4 * bias.numel())

    @staticmethod
    def is_available() -> bool:
        """Whether this machine has the kernels."""
        has_engine = torch.backends.quantized.engine in ("x86", "fbgemm")
        return has_engine and hasattr(torch.ops.quantized, "linear_prepack_fp16")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] float32 to [..., out] float32."""
        inputs = hidden_states.float()
        outputs = [torch.ops.quantized.linear_dynamic_fp16(inputs, block) for block in self.packed]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


class OneDnnBf16Linear(nn.Module):
    """Multiplies bf16 by weights in the order of oneDNN's kernels, on a CPU that multiplies in bf16 itself.

    PyTorch's own layer keeps weights in rows, which for a few rows of inputs are read at half the speed.
    """

    staging_dtype = torch.bfloat16

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Packs a weight.

        Args:
            weight: [out, in], any float dtype.
            bias: [out], or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().bfloat16().contiguous(), None)
        self.bias = None if bias is None else bias.detach().bfloat16()
        self.packed_bytes = 2 * weight.numel() + (0 if bias is None else 2 * bias.numel())

    @staticmethod
    @cache
    def is_available() -> bool:
        """Whether this machine and this PyTorch have the kernels, which is tried."""
        try:
            OneDnnBf16Linear(torch.ones(16, 16), torch.ones(16))(torch.ones(1, 16))
        except (AttributeError, RuntimeError, TypeError):  # no such operator, no such CPU, another signature
            return False
        return True

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype."""
        rows = hidden_states.reshape(-1, self.in_features).bfloat16()
        count = len(rows)
        if count < _ENOUGH_ROWS:
            rows = F.pad(rows, (0, 0, 0, _ENOUGH_ROWS - count))
        outputs = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")[:count]
        return outputs.view(*hidden_states.shape[:-1], self.out_features).to(hidden_states.dtype)


def row_blocks(weight: Tensor, numbers: int) -> Iterator[tuple[int, int]]:
    """First and last row of blocks of a weight, of about so many numbers each."""
    rows = max(1, numbers // weight.shape[1])
    return ((start, min(start + rows, len(weight))) for start in range(0, len(weight), rows))
