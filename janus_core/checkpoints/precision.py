"""Which number formats a model's weights have, and which it computes in."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch

from ..models.cpu.int8_linear import Int8Linear, PackedInt8Linear
from ..models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from ..models.cpu.registry import NarrowLinear, PackedLinear
from .keymaps_flow import VAE_PREFIX

PRECISIONS = ("bf16", "fp16", "fp32", "int8")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# The activations of both image autoencoders exceed what fp16 can hold.
_NEVER_FP16 = ("generation.vq.", VAE_PREFIX)

# What every step of decoding reads. Seeing and the flow's convolutions are a small part of the weights, and
# rounding them would show.
_INT8_PARTS = ("body.", "generation.head.")

EMBEDDING = "body.embed_tokens.weight"


@dataclass(frozen=True)
class Precision:
    """Number formats of a model's weights.

    Attributes:
        compute: of activations, and of weights that are not said to be otherwise.
        packed: what linear layers become that hold weights of 2 bytes in the order of a CPU's kernels; None:
            they stay as they are.
        int8: whether those of the transformer hold weights of 1 byte.
    """

    compute: torch.dtype
    packed: type[PackedLinear] | None = None
    int8: bool = False

    def layer_class(self, name: str) -> type[NarrowLinear] | None:
        """What takes the place of a linear layer of this name; None if it stays."""
        if self.int8 and name.startswith(_INT8_PARTS):
            return PackedInt8Linear if self.packed and PackedInt8Linear.is_available() else Int8Linear
        return self.packed

    def stored(self, parameter: str) -> torch.dtype:
        """The dtype of a parameter that no other class of layer holds."""
        if parameter == EMBEDDING and self.packed:
            return self.packed.staging_dtype
        if self.compute is torch.float16 and parameter.startswith(_NEVER_FP16):
            return torch.float32
        return self.compute


def resolve_precision(dtype: Precision | torch.dtype | str, device: torch.device | str) -> Precision:
    """What a name in `PRECISIONS` means on a device; auto is 2 bytes per weight where the device is fast so.

    Args:
        dtype: a name; or PyTorch's own, which all weights then have; or a precision, which stays as it is.
        device: where the model computes.

    Raises:
        ValueError: if there is no such name.
    """
    if isinstance(dtype, Precision):
        return dtype
    if isinstance(dtype, torch.dtype):
        return Precision(dtype)
    if dtype not in ("auto", *PRECISIONS):
        raise ValueError(
            f"dtype must be auto, {', '.join(PRECISIONS)} or PyTorch's own, got {dtype!r}; use one"
        )
    device = torch.device(device)
    if dtype == "int8":
        usual = resolve_precision("auto", device)
        if usual.packed is OneDnnBf16Linear and not PackedInt8Linear.is_available():
            return Precision(torch.bfloat16, int8=True)  # the other layer with whole numbers is fast in it
        return Precision(usual.compute, usual.packed, int8=True)
    in_bf16 = _multiplies_bf16(device.type)
    packed = _packed_class(dtype, in_bf16) if device.type == "cpu" else None
    if packed is not None and packed.is_available():
        return Precision(torch.float32, packed)
    if dtype == "auto":
        return Precision(torch.bfloat16 if in_bf16 else torch.float32)
    return Precision(DTYPES[dtype])


def _packed_class(name: str, in_bf16: bool) -> type[PackedLinear] | None:
    """What reads weights of 2 bytes fastest on a CPU; all but their products is computed in fp32 there."""
    if name == "fp32":
        return None
    return OneDnnBf16Linear if in_bf16 and name != "fp16" else FbgemmFp16Linear


def _multiplies_bf16(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            return False
        # On x86 oneDNN also supports it by widening, which is slow: the instructions must be there.
        instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        on_x86 = platform.machine().lower() in ("x86_64", "amd64")
        return not on_x86 or any(getattr(torch.cpu, name, bool)() for name in instructions)
    return True
