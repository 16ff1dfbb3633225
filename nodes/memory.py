"""Janus under ComfyUI's memory management, like core's own models."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import comfy.model_management as mm
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher

from ..janus_core import (
    GlobalResponseNorm,
    Int8Linear,
    Janus,
    JanusPipeline,
    Precision,
    RMSNorm,
    load_pipeline,
    packed_bytes,
)
from .progress import report_count


@dataclass
class LoadedJanus:
    """What travels on the model socket: a pipeline whose weights ComfyUI moves between devices."""

    pipeline: JanusPipeline
    patcher: ModelPatcher


def load(folder: Path, precision: str | torch.dtype, template: str | None) -> LoadedJanus:
    """Loads a checkpoint off the device; the pipeline has ComfyUI bring it there when a run starts."""
    device, offload_device = mm.get_torch_device(), mm.unet_offload_device()
    dtype = _auto_dtype(device) if precision == "auto" else precision
    if precision == "int8" and not mm.is_device_cpu(device):
        dtype = Precision(_auto_dtype(device), int8=True)
    pipeline = load_pipeline(
        folder, device, dtype, template=template, on_progress=report_count(), weights_device=offload_device
    )
    make_movable(pipeline.model)
    _cast_shared_weights(pipeline.model)
    # What packed layers hold on a CPU is no parameter, which ComfyUI would count by itself.
    size = mm.module_size(pipeline.model) + packed_bytes(pipeline.model)
    patcher = ModelPatcher(pipeline.model, device, offload_device, size=size)
    pipeline.reserve = partial(_reserve, patcher)
    return LoadedJanus(pipeline, patcher)


def _reserve(patcher: ModelPatcher, num_bytes: int) -> None:
    """Puts as much of a model on its device as fits beside `num_bytes` of other tensors."""
    mm.load_models_gpu([patcher], memory_required=num_bytes)


def _auto_dtype(device: torch.device) -> torch.dtype | str:
    """What ComfyUI holds to be fast on its device; on a CPU, which it never asks, the core's own choice."""
    if mm.is_device_cpu(device):
        return "auto"
    if mm.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if mm.should_use_fp16(device) else torch.float32


class MovableRMSNorm(RMSNorm, comfy.ops.CastWeightBiasOp):
    """The core's normalisation with a weight that may lie on another device than its input."""

    bias = None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalises the last dimension of [..., C]."""
        if not (self.comfy_cast_weights or self.weight_function):
            return super().forward(hidden_states)
        weight, bias, stream = comfy.ops.cast_bias_weight(self, hidden_states, offloadable=True)
        normalized = self.normalize(hidden_states, weight)
        comfy.ops.uncast_bias_weight(self, weight, bias, stream)
        return normalized


class MovableGlobalResponseNorm(GlobalResponseNorm, comfy.ops.CastWeightBiasOp):
    """The core's response normalisation with weights that may lie on another device than its input."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalises [B, h, w, C]."""
        if not (self.comfy_cast_weights or self.weight_function):
            return super().forward(features)
        weight, bias, stream = comfy.ops.cast_bias_weight(self, features, offloadable=True)
        normalized = self.normalize(features, weight, bias)
        comfy.ops.uncast_bias_weight(self, weight, bias, stream)
        return normalized


class MovableInt8Linear(Int8Linear, comfy.ops.CastWeightBiasOp):
    """The core's layer of whole-number weights, which may lie on another device than its input."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Maps [..., in] to [..., out]."""
        if not (self.comfy_cast_weights or self.weight_function):
            return super().forward(hidden_states)
        weight, bias, stream = comfy.ops.cast_bias_weight(
            self, hidden_states, bias_dtype=torch.float32, offloadable=True
        )
        products = torch.nn.functional.linear(hidden_states, weight)
        outputs = self.scaled(products, self.scale.to(hidden_states.device), bias)
        comfy.ops.uncast_bias_weight(self, weight, bias, stream)
        return outputs.to(hidden_states.dtype)


# Layers that ComfyUI can leave on the CPU and move one by one when they are used; others would be stranded
# there by a partial load. Weights and inputs have one dtype, so nothing needs to be cast when all fits.
_MOVABLE = {
    torch.nn.Linear: comfy.ops.disable_weight_init.Linear,
    torch.nn.Conv2d: comfy.ops.disable_weight_init.Conv2d,
    torch.nn.Embedding: comfy.ops.disable_weight_init.Embedding,
    torch.nn.LayerNorm: comfy.ops.disable_weight_init.LayerNorm,
    torch.nn.GroupNorm: comfy.ops.disable_weight_init.GroupNorm,
    RMSNorm: MovableRMSNorm,
    GlobalResponseNorm: MovableGlobalResponseNorm,
    Int8Linear: MovableInt8Linear,
}


def make_movable(model: Janus) -> None:
    """Exchanges the classes of a model's layers for ones that ComfyUI can move.

    Raises:
        TypeError: if a layer with weights has no such class; an error of this package.
    """
    for name, module in model.named_modules():
        if type(module) in _MOVABLE:
            module.__class__ = _MOVABLE[type(module)]
            if isinstance(module, torch.nn.Embedding):
                module.bias = None  # type: ignore[assignment]  # ComfyUI looks at it
        elif any(True for _ in module.parameters(recurse=False)):
            raise TypeError(
                f"layer {name} must be of a class that ComfyUI can move, got {type(module).__name__}"
            )


def _cast_shared_weights(model: Janus) -> None:
    """Lets layers that share a weight look for it each time: moving one of them moves the other's as well."""
    owners: dict[int, list[torch.nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    for module in (module for modules in owners.values() if len(modules) > 1 for module in modules):
        module.comfy_cast_weights = True  # type: ignore[assignment]  # a switch of ComfyUI's classes
