"""The dtypes of a model's weights and activations, and which ones a device is fast in."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import torch

from ..models.cpu.int8_linear import FbgemmInt8Linear, Int8Linear
from ..models.cpu.packed_linear import FbgemmFp16Linear, InferenceLinear, OneDnnBf16Linear
from .layouts.vae import VAE_PREFIX

PRECISIONS = ("bf16", "fp16", "fp32", "int8")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# The activations of both image autoencoders exceed the range of fp16.
_NEVER_FP16 = ("generation.vq.", VAE_PREFIX)

# The parts that every decode step reads. The vision tower and the flow's U-ViTs hold few of the weights, and
# quantizing them would visibly change the results.
_INT8_PARTS = ("body.", "generation.head.")

EMBEDDING = "body.embed_tokens.weight"


@dataclass(frozen=True)
class Precision:
    """The dtypes of a model's weights, and the layers that hold them.

    Attributes:
        compute: dtype of the activations, and of all weights that the other attributes do not cover.
        packed: layer class with prepacked 16-bit weights that replaces `nn.Linear`; None keeps `nn.Linear`.
        int8: whether the linear layers of the transformer have int8 weights.
    """

    compute: torch.dtype
    packed: type[InferenceLinear] | None = None
    int8: bool = False

    def layer_class(self, name: str) -> type[InferenceLinear] | None:
        """The class that replaces the linear layer of this name; None if it stays as it is."""
        if self.int8 and name.startswith(_INT8_PARTS):
            return FbgemmInt8Linear if self.packed and FbgemmInt8Linear.is_available() else Int8Linear
        return self.packed

    def stored(self, parameter: str) -> torch.dtype:
        """The dtype of a parameter whose layer is not replaced."""
        if parameter == EMBEDDING and self.packed:
            return self.packed.staging_dtype
        if self.compute is torch.float16 and parameter.startswith(_NEVER_FP16):
            return torch.float32
        return self.compute


def resolve_precision(dtype: Precision | torch.dtype | str, device: torch.device | str) -> Precision:
    """Chooses the dtypes for a device.

    Args:
        dtype: one of `PRECISIONS`; "auto" for 16-bit weights where the device is fast with them, else fp32; a
            torch.dtype for all weights and activations; or a `Precision`, returned unchanged.
        device: where the model computes.
    """
    if isinstance(dtype, Precision):
        return dtype
    if isinstance(dtype, torch.dtype):
        return Precision(dtype)
    if dtype not in ("auto", *PRECISIONS):
        raise ValueError(
            f"dtype must be auto, {', '.join(PRECISIONS)} or a torch.dtype, got {dtype!r}; use one of these"
        )
    device = torch.device(device)
    if dtype == "int8":
        auto = resolve_precision("auto", device)
        if auto.packed is OneDnnBf16Linear and not FbgemmInt8Linear.is_available():
            return Precision(torch.bfloat16, int8=True)  # Int8Linear is fastest with bf16 activations
        return Precision(auto.compute, auto.packed, int8=True)
    fast_bf16 = has_fast_bf16(device.type)
    packed = _packed_class(dtype, fast_bf16) if device.type == "cpu" else None
    if packed is not None and packed.is_available():
        # Packed layers convert their inputs themselves; everything between them is computed in fp32.
        return Precision(torch.float32, packed)
    if dtype == "auto":
        return Precision(torch.bfloat16 if fast_bf16 else torch.float32)
    return Precision(DTYPES[dtype])


def _packed_class(name: str, fast_bf16: bool) -> type[InferenceLinear] | None:
    """The fastest layer class with 16-bit weights on a CPU; None for fp32."""
    if name == "fp32":
        return None
    return OneDnnBf16Linear if fast_bf16 and name != "fp16" else FbgemmFp16Linear


def has_fast_bf16(device_type: str) -> bool:
    """Whether a device multiplies bf16 matrices by instructions for it."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            return False
        # oneDNN also claims support for x86 CPUs that must emulate bf16 in fp32, which is slow.
        instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        on_x86 = platform.machine().lower() in ("x86_64", "amd64")
        return not on_x86 or any(getattr(torch.cpu, name, bool)() for name in instructions)
    return True
