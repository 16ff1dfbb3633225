"""Linear layers whose weights take fewer bytes than what they are multiplied with.

A step of decoding reads every weight once and does little with it: bytes read are what it costs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Up to so many rows, reading weights costs more than multiplying them.
_FEW_ROWS = 128


class HalfLinear(nn.Module):
    """Multiplies float32 by weights of 2 bytes, on a CPU that cannot multiply in 2 bytes itself.

    The weights are float16 in the order of FBGEMM's kernels, which widen them in registers. Numbers of a bf16
    checkpoint are the same in float16, but for those below 6e-5, which are off by 3e-8 at most.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Packs a weight.

        Args:
            weight: [out, in], any float dtype.
            bias: [out], or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.packed = torch.ops.quantized.linear_prepack_fp16(
            weight.float(), None if bias is None else bias.float()
        )
        self.packed_bytes = 2 * weight.numel() + (0 if bias is None else 4 * bias.numel())

    @staticmethod
    def is_available() -> bool:
        """Whether this machine has the kernels."""
        return torch.backends.quantized.engine in ("x86", "fbgemm")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] float32 to [..., out] float32."""
        return torch.ops.quantized.linear_dynamic_fp16(hidden_states, self.packed)


class Int8Linear(nn.Module):
    """A linear layer with weights of 1 byte: whole numbers, and one factor per output."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Rounds a weight.

        Args:
            weight: [out, in], any float dtype.
            bias: [out], or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        weight = weight.float()
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.weight = nn.Parameter((weight / scale[:, None]).round_().to(torch.int8), requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype."""
        if hidden_states.device.type == "cpu" and hidden_states.shape[:-1].numel() <= _FEW_ROWS:
            # The kernel is fast in bf16 alone. Its own factors would be rounded to bf16 too: ours come after.
            rows = hidden_states.reshape(-1, self.in_features).to(torch.bfloat16)
            ones = rows.new_ones(self.out_features)
            products = torch._weight_int8pack_mm(rows, self.weight, ones)
            products = products.view(*hidden_states.shape[:-1], -1)
        else:
            products = F.linear(hidden_states, self.weight.to(hidden_states.dtype))
        return self.scaled(products, self.scale, self.bias).to(hidden_states.dtype)

    @staticmethod
    def scaled(products: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Products of whole-number weights to float32 outputs of the layer."""
        outputs = products.float() * scale
        return outputs if bias is None else outputs + bias


def weight_bytes(model: nn.Module) -> int:
    """Bytes that a model's weights take, each counted once."""
    packed = sum(module.packed_bytes for module in model.modules() if isinstance(module, HalfLinear))
    return packed + sum(parameter.nbytes for parameter in model.parameters())


def check_whole(model: nn.Module) -> None:
    """Refuses a model whose weights were packed or rounded: it cannot be trained or saved.

    Raises:
        ValueError: that says how to load it.
    """
    kinds = {type(module) for module in model.modules() if isinstance(module, HalfLinear | Int8Linear)}
    if kinds:
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"model must hold whole weights to be trained or saved, got {names} layers; load it with "
            "dtype=torch.float32 or torch.bfloat16"
        )
