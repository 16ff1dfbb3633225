"""Loads a model from a checkpoint folder: validate, build on the meta device, fill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..config import JanusConfig
from ..models.janus import Janus
from .fill import NO_CHANGES, Changes, ModelFiller, OnProgress, parameter_shapes
from .precision import Precision, resolve_precision
from .sources import Checkpoint, find_checkpoint, match_tensors


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: Precision | torch.dtype | str = "auto",
    on_progress: OnProgress | None = None,
    vae: Path | None = None,
    weights_device: torch.device | str | None = None,
) -> Janus:
    """Loads a checkpoint of any supported layout.

    The arguments mean what they mean to `janus_core.load_pipeline`.
    """
    return load_weights(find_checkpoint(folder, vae), device, dtype, on_progress, weights_device)


def load_weights(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: Precision | torch.dtype | str = "auto",
    on_progress: OnProgress | None = None,
    weights_device: torch.device | str | None = None,
    changes: Changes = NO_CHANGES,
) -> Janus:
    """Builds the model of a checkpoint and reads its weights.

    The model is built without memory and each tensor is copied once, so peak memory is about one copy of the
    weights. `changes` are those of adapters.
    """
    precision = resolve_precision(dtype, device)
    model = build_on_meta(checkpoint.config)
    tensors = match_tensors(checkpoint, parameter_shapes(model))
    ModelFiller(model, torch.device(weights_device or device), precision, changes).fill(tensors, on_progress)
    assert not any(parameter.is_meta for parameter in model.parameters())
    return model.eval().requires_grad_(False)


def check_weights(folder: Path) -> None:
    """Checks that a folder's weights match its config.json, without reading their values."""
    checkpoint = find_checkpoint(folder, None)
    match_tensors(checkpoint, parameter_shapes(build_on_meta(checkpoint.config)))


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
