"""The dtypes of a model's weights and activations, and which ones a device is fast in."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..models.cpu.fbgemm_int8_linear import FbgemmInt8Linear
from ..models.cpu.packed_linear import FbgemmFp16Linear, OneDnnBf16Linear
from ..models.quantized.inference_linear import InferenceLinear
from ..models.quantized.int4_linear import Int4Embedding, Int4Linear
from ..models.quantized.int8_linear import Int8Linear
from .layouts.vae import VAE_PREFIX

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# The activations of both image autoencoders exceed the range of fp16.
_NEVER_FP16 = ("generation.vq.", VAE_PREFIX)

EMBEDDING = "body.embed_tokens.weight"

_Classes = tuple[type[InferenceLinear], ...]

# The parts that every decode step reads. The vision tower and the flow's U-ViTs hold few of the weights, and
# quantizing them would visibly change the results.
_INT8 = {"body.layers.": (Int8Linear,), "body.lm_head": (Int8Linear,), "generation.head.": (Int8Linear,)}

# All of Janus-Pro-7B in 4.8 GB, also on a CPU, where its image tokenizer is in float32. In 16 bits, its
# heads, text table and vision tower would take 2.4 GB of that, and the blocks take 3.4. What each part
# costs was measured with the built-in demonstration, as the relative error of its image logits and text
# logits: the blocks 1.0 and 2.3 %; the heads in 4 bits 1.3 and 3.5 %, but in 8 bits 0.1 and 0.3 %; the
# table in 4 bits 0.3 and 0.5 %, which adds less than 0.1 % to those of the blocks. In 4 bits, the tower
# would change image features by 6.8 %, in 8 bits by 0.6 %. With the first and last block in 8 bits, image
# logits would be off by 0.9 in place of 1.0 %, for 0.2 GB.
_INT4 = {
    "body.layers.": (Int4Linear, Int8Linear),
    "body.embed_tokens": (Int4Embedding,),
    "body.lm_head": (Int8Linear,),
    "generation.head.": (Int8Linear,),
    "generation.aligner.": (Int8Linear,),
    "understanding.": (Int8Linear,),
}

# The classes of layers that replace the model's own, by its parts: the first one that takes rows of a layer's
# length. Without one, the layer stays as it is.
QUANTIZED: Mapping[str, Mapping[str, _Classes]] = {
    "int8": _INT8,
    "int8 for FBGEMM": {part: (FbgemmInt8Linear,) for part in _INT8},
    "int4": _INT4,
}

# The forms for CPUs that can run these layers, by what names them.
_CPU_FORMS: Mapping[str, Mapping[str, type[InferenceLinear]]] = {
    "int8": {"int8 for FBGEMM": FbgemmInt8Linear},
    "int4": {},
}

QUANTIZED_PRECISIONS = tuple(_CPU_FORMS)
PRECISIONS = (*DTYPES, *QUANTIZED_PRECISIONS)


@dataclass(frozen=True)
class Precision:
    """The dtypes of a model's weights, and the layers that hold them.

    Attributes:
        compute: dtype of the activations, and of all weights that the other attributes do not cover.
        packed: layer class with prepacked 16-bit weights that replaces `nn.Linear`; None keeps `nn.Linear`.
        quantized: the form of weights with fewer than 16 bits, a key of `QUANTIZED`; None if there are none.
    """

    compute: torch.dtype
    packed: type[InferenceLinear] | None = None
    quantized: str | None = None

    def quantized_class(self, name: str, in_features: int) -> type[InferenceLinear] | None:
        """The class that holds quantized weights of this layer; None if they are not quantized."""
        parts = QUANTIZED[self.quantized] if self.quantized else {}
        classes = next((classes for part, classes in parts.items() if name.startswith(part)), ())
        return next((each for each in classes if each.takes(in_features)), None)

    def layer_class(self, name: str, in_features: int) -> type[InferenceLinear] | None:
        """The class for a linear layer or the text table of this name; None if it stays as it is."""
        return self.quantized_class(name, in_features) or self.packed

    def replacing(self, model: nn.Module) -> dict[str, type[InferenceLinear]]:
        """The classes of the layers that replace a model's own, by name."""
        found = {}
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                replacing = self.layer_class(name, layer.weight.shape[1])
                if replacing is not None and isinstance(layer, replacing.replaces):
                    found[name] = replacing
        return found

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
    if dtype in _CPU_FORMS:
        return _with_quantized_weights(dtype, device)
    fast_bf16 = has_fast_bf16(device.type)
    packed = _packed_class(dtype, fast_bf16) if device.type == "cpu" else None
    if packed is not None and packed.is_available():
        # Packed layers convert their inputs themselves; everything between them is computed in fp32.
        return Precision(torch.float32, packed)
    if dtype == "auto":
        return Precision(torch.bfloat16 if fast_bf16 else torch.float32)
    return Precision(DTYPES[dtype])


def _with_quantized_weights(name: str, device: torch.device) -> Precision:
    auto = resolve_precision("auto", device)
    if auto.packed is None:
        return Precision(auto.compute, quantized=name)
    forms = (form for form, layer in _CPU_FORMS[name].items() if layer.is_available())
    form = next(forms, None)
    if auto.packed is OneDnnBf16Linear and form is None:
        return Precision(torch.bfloat16, quantized=name)  # in which plain layers are fastest
    return Precision(auto.compute, auto.packed, form or name)


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
