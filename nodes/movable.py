"""Layers whose weights ComfyUI can leave in main memory, and copies to the device when they are used."""

from typing import Any

import comfy.model_management as mm
import comfy.ops
import torch
from torch import Tensor

from ..janus_core import GlobalResponseNorm, Int4Embedding, Int4Linear, Int8Linear, Janus, RMSNorm

# Copying a table of this many bytes takes less time than waiting for the ids that are looked up in it.
_MAX_COPIED_TABLE = 2**20


class _Movable(comfy.ops.CastWeightBiasOp):
    """Mixin for layers whose weights may be on another device than their input."""

    weight_dtype: torch.dtype | None = None  # None for the input's
    bias_dtype: torch.dtype | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies the layer; ComfyUI sets either attribute on layers that it keeps on the offload device."""
        if not (self.comfy_cast_weights or self.weight_function):
            return super().forward(inputs)
        weight, bias, stream = comfy.ops.cast_bias_weight(
            self, inputs, self.weight_dtype, bias_dtype=self.bias_dtype, offloadable=True
        )
        outputs = self._compute(inputs, weight, bias)
        comfy.ops.uncast_bias_weight(self, weight, bias, stream)
        return outputs


class MovableRMSNorm(_Movable, RMSNorm):
    """The core's RMS normalization, movable by ComfyUI."""

    bias = None

    def _compute(self, inputs: Tensor, weight: Tensor, bias: None) -> Tensor:
        return self.normalize(inputs, weight)


class MovableGlobalResponseNorm(_Movable, GlobalResponseNorm):
    """The core's global response normalization, movable by ComfyUI."""

    def _compute(self, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.normalize(inputs, weight, bias)


class _MovableQuantized(_Movable):
    """Mixin for layers with quantized weights and factors beside them."""

    bias_dtype = torch.float32

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies the layer; refuses patches that ComfyUI applies when a weight is used."""
        if self.weight_function:
            self._refuse_patches()
        return super().forward(inputs)

    def convert_weight(self, weight: Tensor, inplace: bool = False) -> Tensor:
        """Called by ComfyUI before it patches a weight once, when the model is loaded."""
        self._refuse_patches()
        return weight

    def _refuse_patches(self) -> None:
        # They would change the codes but not the factors.
        raise ValueError(
            f"model must have unquantized weights to be patched, got {self.precision}; load it in another "
            "precision, or use Janus LoRA, which loads it again with the adapter"
        )


class MovableInt8Linear(_MovableQuantized, Int8Linear):
    """The core's linear layer with int8 weights, movable by ComfyUI."""

    precision = "int8"
    weight_dtype = torch.int8

    def _compute(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.product(inputs, weight, _moved(self.scale, inputs.device), bias)


class MovableInt4Linear(_MovableQuantized, Int4Linear):
    """The core's linear layer with 4-bit weights, movable by ComfyUI."""

    precision = "int4"
    weight_dtype = torch.uint8

    def _compute(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        scale, zero = _moved(self.scale, inputs.device), _moved(self.zero, inputs.device)
        return self.product(inputs, weight, scale, zero, bias)


class MovableInt4Embedding(_MovableQuantized, Int4Embedding):
    """The core's embedding with 4-bit rows, which are looked up in main memory if its table is there."""

    precision = "int4"

    def forward(self, ids: Tensor) -> Tensor:
        """Maps ids to rows on their device."""
        if self.weight_function:
            self._refuse_patches()
        return _moved(Int4Embedding.forward(self, ids.to(self.weight.device)), ids.device)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; it does not wait for the copy, unlike `to`."""
    return mm.cast_to_device(tensor, device, tensor.dtype)


class MovableEmbedding(comfy.ops.disable_weight_init.Embedding):
    """An embedding whose rows are looked up in main memory if its table is there.

    ComfyUI's own copies the whole table to the device for each token: 0.8 GB for the text of Janus-Pro-7B.
    """

    bias = None  # ComfyUI reads it

    def forward(self, ids: Tensor, **options: Any) -> Tensor:
        """Maps ids to rows on their device."""
        is_copied = self.comfy_cast_weights and self.weight.nbytes <= _MAX_COPIED_TABLE
        if self.weight.device == ids.device or self.weight_function or is_copied:
            return super().forward(ids, **options)
        rows = torch.nn.functional.embedding(ids.to(self.weight.device), self.weight)
        return _moved(rows, ids.device)


# By the core's class. A layer of any other class would stay in main memory after a partial load, and fail.
# Weights and inputs have the same dtype, so that nothing is cast when the whole model fits on the device.
_MOVABLE = {
    torch.nn.Linear: comfy.ops.disable_weight_init.Linear,
    torch.nn.Conv2d: comfy.ops.disable_weight_init.Conv2d,
    torch.nn.Embedding: MovableEmbedding,
    torch.nn.LayerNorm: comfy.ops.disable_weight_init.LayerNorm,
    torch.nn.GroupNorm: comfy.ops.disable_weight_init.GroupNorm,
    RMSNorm: MovableRMSNorm,
    GlobalResponseNorm: MovableGlobalResponseNorm,
    Int8Linear: MovableInt8Linear,
    Int4Linear: MovableInt4Linear,
    Int4Embedding: MovableInt4Embedding,
}


def make_movable(model: Janus) -> None:
    """Replaces the classes of a model's layers by ones that ComfyUI can move.

    Raises:
        TypeError: if a layer with weights has no such class, which is a bug of this package.
    """
    for name, module in model.named_modules():
        if type(module) in _MOVABLE:
            module.__class__ = _MOVABLE[type(module)]
        elif any(True for _ in module.parameters(recurse=False)):
            raise TypeError(
                f"layer {name} must be of a class that ComfyUI can move, got {type(module).__name__}"
            )


def cast_shared_weights(model: Janus) -> None:
    """Makes layers with a shared parameter cast it at each use: moving one layer also moves the others'."""
    owners: dict[int, list[torch.nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    for modules in owners.values():
        if len(modules) > 1:
            for module in modules:
                module.comfy_cast_weights = True  # type: ignore[assignment]  # a switch of ComfyUI's classes
