"""Building a model and filling it from a checkpoint folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..config import JanusConfig
from ..models.janus import Janus
from .fill import Filler, OnProgress, parameter_shapes
from .precision import EMBEDDING, Precision, resolve_precision
from .sources import LM_HEAD, find_sources


def check_weights(folder: Path) -> None:
    """Makes sure that a folder's weights are those that its config.json describes, without reading them.

    Raises:
        FileNotFoundError: as `load_model`.
        ValueError: as `load_model`.
    """
    config, sources = find_sources(folder, None)
    shapes = parameter_shapes(_build(config))
    for source in sources:
        source.places(config, shapes)


def load_model(
    folder: Path,
    device: torch.device | str = "cpu",
    dtype: Precision | torch.dtype | str = "auto",
    on_progress: OnProgress | None = None,
    vae: Path | None = None,
    weights_device: torch.device | str | None = None,
) -> Janus:
    """Reads a checkpoint of any supported layout.

    The model is built without memory, then each tensor is copied once into its place, so the peak is one copy
    of the weights and a small part of the file.

    Args:
        folder: holds config.json and weights.
        device: where the model is to compute.
        dtype: of the weights, or a name that `resolve_precision` knows.
        on_progress: called with bytes read and bytes in all.
        vae: of a model that draws latents: a diffusers folder or a single file; None for the folder's own
            `vae`, if there is one.
        weights_device: where the weights go, if a host brings them to `device` later.

    Raises:
        FileNotFoundError: if a file is missing; it says which.
        ValueError: if a file is broken, or its tensors are not those of the model that config.json describes.
    """
    precision = resolve_precision(dtype, device)
    config, sources = find_sources(folder, vae)
    model = _build(config)
    filler = Filler(model, torch.device(weights_device or device), precision)
    plans = [(source, source.places(config, filler.shapes)) for source in sources]
    if LM_HEAD not in filler.fill(plans, on_progress):
        filler.tie(LM_HEAD, EMBEDDING)
    assert not any(parameter.is_meta for parameter in model.parameters())
    return model.eval().requires_grad_(False)


def _build(config: JanusConfig) -> Janus:
    with torch.device("meta"), _NoInit():
        return Janus(config)


class _NoInit(TorchFunctionMode):
    """Leaves parameters as they are made.

    Filling tensors without memory is of no use, and loads 80 MB of torch's compiler for its random numbers.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor", args[0] if args else None)
        return func(*args, **(kwargs or {}))
