"""Janus models under ComfyUI's memory management, like core's own models."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import comfy.model_management as mm
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..janus_core import (
    FlowSampling,
    GlobalResponseNorm,
    Int8Linear,
    Janus,
    JanusPipeline,
    Precision,
    RMSNorm,
    TokenSampling,
    load_pipeline,
    packed_bytes,
)
from .progress import progress_callback

Options = TypeVar("Options", TokenSampling, FlowSampling)


@dataclass(frozen=True)
class _Kind:
    """A kind of checkpoint, in the words of error messages."""

    checkpoint: str
    folder: str
    method: str
    node: str


_TOKENS = _Kind(
    "a Janus or Janus-Pro checkpoint", "a Janus or Janus-Pro folder", "token by token", "Janus Generate"
)
_FLOW = _Kind("a JanusFlow checkpoint", "a JanusFlow folder", "by flow", "JanusFlow Sampler")


@dataclass(frozen=True)
class Origin:
    """How a model was loaded, to load it again or patch it with other adapters.

    Attributes:
        folder: the checkpoint.
        precision: of the weights.
        template: chat template; None for the checkpoint's own.
        patcher: holds the weights without patches; None if LoRA adapters were added before packing.
    """

    folder: Path
    precision: str | torch.dtype | Precision
    template: str | None
    patcher: ModelPatcher | None


@dataclass(eq=False, repr=False)  # ComfyUI prints the inputs of a node that fails: not all layers
class LoadedJanus:
    """The value on the model socket: a pipeline whose weights ComfyUI moves between devices."""

    pipeline: JanusPipeline
    patcher: ModelPatcher
    origin: Origin
    adapters: tuple[tuple[Path, float], ...] = ()  # LoRA adapters with their strengths

    def image_options(self, options: Options) -> Options:
        """Returns options for this kind of model, with the checkpoint's own values in place of None.

        Raises:
            ValueError: if they are for the other kind; the message says which checkpoint or node to use.
        """
        if not isinstance(options, type(self.pipeline.default_options)):
            wanted, found = (_FLOW, _TOKENS) if isinstance(options, FlowSampling) else (_TOKENS, _FLOW)
            raise ValueError(
                f"model must be {wanted.checkpoint}, got {self.pipeline.folder.name!r}, which generates "
                f"images {found.method}; choose {wanted.folder} in Load Janus-Pro, or use {found.node} with "
                "this one"
            )
        return self.pipeline.image_options(options)


def load(
    folder: Path,
    precision: str | torch.dtype | Precision,
    template: str | None,
    adapters: tuple[tuple[Path, float], ...] = (),
) -> LoadedJanus:
    """Loads a checkpoint on the offload device; the pipeline's `reserve` has ComfyUI move it for each run."""
    device, offload_device = mm.get_torch_device(), mm.unet_offload_device()
    dtype = _auto_dtype(device) if precision == "auto" else precision
    if precision == "int8" and not mm.is_device_cpu(device):
        dtype = Precision(_auto_dtype(device), int8=True)
    pipeline = load_pipeline(
        folder,
        device,
        dtype,
        template=template,
        on_progress=progress_callback(),
        weights_device=offload_device,
        adapters=adapters,
    )
    make_movable(pipeline.model)
    _cast_shared_weights(pipeline.model)
    # Packed CPU weights are not parameters, so that ComfyUI does not count them by itself.
    size = mm.module_size(pipeline.model) + packed_bytes(pipeline.model)
    patcher = ModelPatcher(pipeline.model, device, offload_device, size=size)
    pipeline.reserve = partial(reserve, patcher)
    origin = Origin(folder, precision, template, None if adapters else patcher)
    return LoadedJanus(pipeline, patcher, origin, adapters)


def reserve(patcher: ModelPatcher, num_bytes: int) -> None:
    """Moves as much of a model to its device as fits beside `num_bytes` of other tensors."""
    mm.load_models_gpu([patcher], memory_required=num_bytes)


def _auto_dtype(device: torch.device) -> torch.dtype | str:
    """ComfyUI's choice for its device. It makes none for CPUs, where the core chooses."""
    if mm.is_device_cpu(device):
        return "auto"
    if mm.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if mm.should_use_fp16(device) else torch.float32


class _Movable(comfy.ops.CastWeightBiasOp):
    """Mixin for layers whose weights may be on another device than their input."""

    bias_dtype: torch.dtype | None = None  # None for the input's

    def forward(self, inputs: Tensor) -> Tensor:
        """Applies the layer; ComfyUI sets either attribute on layers that it keeps on the offload device."""
        if not (self.comfy_cast_weights or self.weight_function):
            return super().forward(inputs)
        weight, bias, stream = comfy.ops.cast_bias_weight(
            self, inputs, bias_dtype=self.bias_dtype, offloadable=True
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


class MovableInt8Linear(_Movable, Int8Linear):
    """The core's linear layer with int8 weights, movable by ComfyUI."""

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
        # They would change the codes but not the scales.
        raise ValueError(
            "model must have whole weights to be patched, got int8; load it in another precision, or use "
            "Janus LoRA, which loads it again with the adapter"
        )

    def _compute(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        products = torch.nn.functional.linear(inputs, weight)
        return self.scaled(products, self.scale.to(inputs.device), bias).to(inputs.dtype)


# Layer classes that ComfyUI can leave on the CPU and copy to the device when they are used. A layer of any
# other class would stay there after a partial load, and fail. Weights and inputs have the same dtype, so that
# nothing is cast when the whole model fits on the device.
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
    """Replaces the classes of a model's layers by ones that ComfyUI can move.

    Raises:
        TypeError: if a layer with weights has no such class, which is a bug of this package.
    """
    for name, module in model.named_modules():
        if type(module) in _MOVABLE:
            module.__class__ = _MOVABLE[type(module)]
            if isinstance(module, torch.nn.Embedding):
                module.bias = None  # type: ignore[assignment]  # ComfyUI reads it
        elif any(True for _ in module.parameters(recurse=False)):
            raise TypeError(
                f"layer {name} must be of a class that ComfyUI can move, got {type(module).__name__}"
            )


def _cast_shared_weights(model: Janus) -> None:
    """Makes layers with a shared parameter cast it at each use: moving one layer also moves the others'."""
    owners: dict[int, list[torch.nn.Module]] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(module)
    for modules in owners.values():
        if len(modules) > 1:
            for module in modules:
                module.comfy_cast_weights = True  # type: ignore[assignment]  # a switch of ComfyUI's classes
