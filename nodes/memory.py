"""Janus models under ComfyUI's memory management, like core's own models."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import comfy.model_management as mm
import torch

from ..janus_core import (
    QUANTIZED_PRECISIONS,
    FlowSampling,
    JanusPipeline,
    Precision,
    TokenSampling,
    load_pipeline,
    saved_precision,
)
from .movable import cast_shared_weights, make_movable
from .parts import Patchers, part_patchers, reserve, room
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
        patchers: hold the weights without patches; None if LoRA adapters were added before packing.
    """

    folder: Path
    precision: str | torch.dtype | Precision
    template: str | None
    patchers: Patchers | None


@dataclass(eq=False, repr=False)  # ComfyUI prints the inputs of a node that fails: not all layers
class LoadedJanus:
    """The value on the model socket: a pipeline whose weights ComfyUI moves between devices."""

    pipeline: JanusPipeline
    patchers: Patchers
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
    if precision == "auto":
        precision = saved_precision(folder) or _auto_dtype(device)
    dtype = precision
    if precision in QUANTIZED_PRECISIONS and not mm.is_device_cpu(device):
        dtype = Precision(_auto_dtype(device), quantized=precision)
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
    cast_shared_weights(pipeline.model)
    patchers = part_patchers(pipeline.model, device, offload_device)
    pipeline.reserve, pipeline.room = partial(reserve, patchers), partial(room, patchers)
    origin = Origin(folder, precision, template, None if adapters else patchers)
    return LoadedJanus(pipeline, patchers, origin, adapters)


def _auto_dtype(device: torch.device) -> torch.dtype | str:
    """ComfyUI's choice for its device. It makes none for CPUs, where the core chooses."""
    if mm.is_device_cpu(device):
        return "auto"
    if mm.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if mm.should_use_fp16(device) else torch.float32
