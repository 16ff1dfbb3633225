"""Linear layers with weights of 1 byte: whole numbers, and a factor for each output."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .packed_linear import FbgemmFp16Linear, row_blocks

# Up to so many rows, multiplying by narrow weights takes less time than widening them first.
_FEW_ROWS = 128

# PyTorch's kernel reads inputs in blocks of at most so many, and past the end of others.
_KERNEL_BLOCK = 32

# Weights whose float32 copies exist at once: so few stay in the processor's cache from one step to the next.
_ROUNDED_AT_ONCE = 2**20

_TINY = torch.finfo(torch.float32).tiny

# A row's largest number is far out from so many times the root of its mean square.
_FAR_OUT = 32

# Said once by the tensors that `PackedInt8Linear` packs: users can do nothing about it, and
# where they are gone some day, other layers take over.
warnings.filterwarnings("ignore", r"torch\.quantize_per_tensor, .* are deprecated", UserWarning)


class PackedInt8Linear(nn.Module):
    """Multiplies by weights of 1 byte with FBGEMM's kernels, which know whole numbers only.

    They take inputs of 7 bits. An input goes through in two parts, what 7 bits hold of it and 7 more bits of
    what is left, so that its own rounding, one in 2^14 of a row's largest number, is at most that of bf16.
    Where that number stands far out, a third part follows.
    """

    staging_dtype = torch.bfloat16

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Rounds and packs a weight.

        Args:
            weight: [out, in], any float dtype.
            bias: [out], or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        rounded, scale = _rounded(weight)
        zeros = torch.zeros(self.out_features, dtype=torch.long)
        quantized = torch._make_per_channel_quantized_tensor(rounded, scale, zeros, 0)
        self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.bias = None if bias is None else bias.float()
        self.packed_bytes = weight.numel() + 4 * self.out_features * (1 if bias is None else 2)

    @staticmethod
    def is_available() -> bool:
        """Whether this machine has the kernels, and this PyTorch the tensors that they are packed from."""
        has_kernel = hasattr(torch.ops.quantized, "linear_with_input_q_dq_qweight_dq_output_fp32")
        has_tensors = hasattr(torch, "_make_per_channel_quantized_tensor")
        return FbgemmFp16Linear.is_available() and has_kernel and has_tensors

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype; what lies between is float32."""
        rows = hidden_states.detach().float().reshape(-1, self.in_features)
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=-1, keepdim=True)
        usual = torch.linalg.vector_norm(rows, dim=-1, keepdim=True) * self.in_features**-0.5
        parts = rows.new_empty(3 if bool((largest > _FAR_OUT * usual).any()) else 2, *rows.shape)
        step = largest.div_(63).clamp_(min=_TINY)
        left = torch.div(rows, step, out=parts[-1])
        for part in parts[:-1]:
            torch.round(left, out=part)
            left.sub_(part).mul_(126)  # the kernel rounds the last
        # One step of the inputs is 1, and 64 stands for 0.
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        products = multiply(parts.flatten(0, 1), 1.0, 64, self.packed)
        outputs, *coarser = reversed(products.chunk(len(parts)))
        for product in coarser:
            outputs = torch.add(product, outputs, alpha=1 / 126)
        outputs.mul_(step)
        if self.bias is not None:
            outputs += self.bias
        return outputs.view(*hidden_states.shape[:-1], self.out_features).to(hidden_states.dtype)


class Int8Linear(nn.Module):
    """A linear layer with weights of 1 byte: whole numbers, and one factor per output."""

    staging_dtype = torch.bfloat16

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Rounds a weight.

        Args:
            weight: [out, in], any float dtype.
            bias: [out], or None.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        rounded, scale = _rounded(weight)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., in] to [..., out] of the same dtype."""
        on_cpu, whole_blocks = hidden_states.device.type == "cpu", self.in_features % _KERNEL_BLOCK == 0
        if on_cpu and whole_blocks and hidden_states.shape[:-1].numel() <= _FEW_ROWS:
            # The kernel is fast in bf16 alone. Its own factors would be rounded to bf16 too: ours come after.
            rows = hidden_states.reshape(-1, self.in_features).to(torch.bfloat16).contiguous()
            products = torch._weight_int8pack_mm(rows, self.weight, rows.new_ones(self.out_features))
            products = products.view(*hidden_states.shape[:-1], self.out_features)
        else:
            products = F.linear(hidden_states, self.weight.to(hidden_states.dtype))
        return self.scaled(products, self.scale, self.bias).to(hidden_states.dtype)

    @staticmethod
    def scaled(products: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Products of whole-number weights to float32 outputs of the layer."""
        outputs = products.float() * scale
        return outputs if bias is None else outputs + bias


def _rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest whole numbers [out, in] int8, and the factor of each row [out]."""
    rounded = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), device=weight.device)
    for start, stop in row_blocks(weight, _ROUNDED_AT_ONCE):
        wide = weight[start:stop].float()
        scale[start:stop] = (wide.abs().amax(dim=1) / 127).clamp(min=_TINY)
        rounded[start:stop] = (wide / scale[start:stop, None]).round_()
    return rounded, scale
