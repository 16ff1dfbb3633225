"""Models without memory for their weights: built, described, and with layers replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..config import JanusConfig
from ..models.janus import Janus
from ..models.quantized.inference_linear import InferenceLinear
from .keymap import Shape


def build_on_meta(config: JanusConfig) -> Janus:
    """A model without memory for its weights."""
    with torch.device("meta"), _NoInit():
        return Janus(config)


class _NoInit(TorchFunctionMode):
    """Skips the initialization of parameters.

    It has no effect on meta tensors, but imports 80 MB of torch's compiler for their random numbers.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))


def replace_on_meta(model: Janus, name: str, layer_class: type[InferenceLinear]) -> InferenceLinear:
    """Replaces a layer on `meta` by one without values; returns it."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | nn.Embedding)
    made = layer_class(layer.weight.detach(), getattr(layer, "bias", None))
    model.set_submodule(name, made)
    return made


def parameter_shapes(model: Janus) -> dict[str, Shape]:
    """Shapes of a model's parameters by name."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def quantized_dtypes(model: Janus) -> dict[str, torch.dtype]:
    """Dtypes of the parameters of a model's quantized layers by name."""
    return {
        f"{name}.{leaf}": parameter.dtype
        for name, layer in model.named_modules()
        if isinstance(layer, InferenceLinear)
        for leaf, parameter in layer.named_parameters(recurse=False)
    }
