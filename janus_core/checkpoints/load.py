"""Loads a model from a checkpoint folder: validate, build on the meta device, fill."""

from __future__ import annotations

from pathlib import Path

import torch

from ..models.janus import Janus
from .fill import NO_CHANGES, Changes, ModelFiller, OnProgress
from .on_meta import build_on_meta, parameter_shapes, quantized_dtypes, replace_on_meta
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
    saved = checkpoint.quantized
    precision = resolve_precision(saved if saved and dtype == "auto" else dtype, device)
    model = build_on_meta(checkpoint.config)
    if saved:
        folder = checkpoint.sources[0].path
        if precision.quantized != saved:
            raise ValueError(
                f"precision must be {saved} or auto for {folder}, which was saved in {saved}, got {dtype}; "
                "for another one, use the checkpoint that it was saved from"
            )
        _make_quantized(model, precision)
    tensors = match_tensors(checkpoint, parameter_shapes(model), quantized_dtypes(model))
    ModelFiller(model, torch.device(weights_device or device), precision, changes).fill(tensors, on_progress)
    assert not any(parameter.is_meta for parameter in model.parameters())
    return model.eval().requires_grad_(False)


def _make_quantized(model: Janus, precision: Precision) -> None:
    """Replaces the layers whose quantized weights a checkpoint holds, so that they are read as they are."""
    for name, layer_class in precision.replacing(model).items():
        if layer_class.by_rows:
            replace_on_meta(model, name, layer_class)


def check_weights(folder: Path) -> None:
    """Checks that a folder's weights match its config.json, without reading their values."""
    checkpoint = find_checkpoint(folder, None)
    model = build_on_meta(checkpoint.config)
    if checkpoint.quantized:
        _make_quantized(model, resolve_precision(checkpoint.quantized, "cpu"))
    match_tensors(checkpoint, parameter_shapes(model), quantized_dtypes(model))
