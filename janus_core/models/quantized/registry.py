"""Memory taken by models with packed or quantized layers, and the check that such a model is not trained."""

from __future__ import annotations

import sys

import torch
from torch import nn

from .inference_linear import InferenceLinear
from .int4_linear import Int4Linear


def weight_bytes(model: nn.Module) -> int:
    """Bytes of a model's weights, shared ones counted once."""
    return packed_bytes(model) + sum(parameter.nbytes for parameter in model.parameters())


def packed_bytes(model: nn.Module) -> int:
    """Bytes of a model's weights that are not parameters."""
    return sum(module.packed_bytes for module in model.modules() if isinstance(module, InferenceLinear))


def rounds_inputs(model: nn.Module) -> bool:
    """Whether a layer rounds its inputs so coarsely that their last bit often matters."""
    return any(isinstance(module, InferenceLinear) and module.rounds_inputs for module in model.modules())


def exact_vectors(model: nn.Module) -> int:
    """The most vectors that a model can read at once without one result depending on the others."""
    layers = (module for module in model.modules() if isinstance(module, InferenceLinear))
    return min((layer.exact_vectors for layer in layers), default=sys.maxsize)


def conversion_bytes(layer: nn.Module, vectors: int, dtype: torch.dtype, device: torch.device) -> int:
    """Working memory of a linear layer beside inputs and outputs, for vectors of a dtype on a device."""
    return layer.conversion_bytes(vectors, dtype, device) if isinstance(layer, InferenceLinear) else 0


def is_int4(model: nn.Module) -> bool:
    """Whether layers of a model have 4-bit weights."""
    return any(isinstance(module, Int4Linear) for module in model.modules())


def quantization_factors(model: nn.Module) -> set[str]:
    """The names of a model's parameters that belong to quantized weights: their scales and zeros."""
    return {
        f"{name}.{leaf}"
        for name, layer in model.named_modules()
        if isinstance(layer, InferenceLinear)
        for leaf, _ in layer.named_parameters(recurse=False)
        if leaf not in ("weight", "bias")
    }


def check_savable(model: nn.Module) -> None:
    """Raises ValueError for a model with packed or quantized layers, except one with 4-bit weights."""
    if not is_int4(model):
        check_not_quantized(model)
    layers = [module for module in model.modules() if isinstance(module, InferenceLinear)]
    names = {type(layer).__name__ for layer in layers if not layer.by_rows}
    if names:
        raise ValueError(
            f"model must have no packed layers beside its 4-bit weights to be saved, got "
            f"{', '.join(sorted(names))}; load it with dtype=Precision(torch.float32, quantized='int4')"
        )


def check_not_quantized(model: nn.Module) -> None:
    """Raises ValueError for a model with packed or quantized layers: it cannot be trained."""
    names = {type(module).__name__ for module in model.modules() if isinstance(module, InferenceLinear)}
    if names:
        raise ValueError(
            f"model must have no packed or quantized layers, got {', '.join(sorted(names))}; load it with "
            "dtype=torch.float32 or torch.bfloat16 to train or save it, or in int4 to save a small copy"
        )
