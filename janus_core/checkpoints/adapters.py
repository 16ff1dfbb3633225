"""Resolves LoRA adapters to changes of a checkpoint's parameters, before any weight is read."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import torch
from torch import Tensor

from ..arguments import checked_path, listed, shown
from ..config import JanusConfig
from .adapter_config import Scaling
from .adapter_files import AdapterFile, read_adapter
from .adapter_names import AdapterModules, Places, find_places, split_names
from .changes import Change, LowRankChange, Replacement
from .keymap import KeyMap, ParameterSlice, Shape
from .layouts import LAYOUTS, detect_layout
from .layouts.vae import VAE_PREFIX
from .on_meta import build_on_meta, parameter_shapes
from .precision import EMBEDDING
from .sources import LM_HEAD, saved_precision

_log = logging.getLogger(__name__)

AdapterChoice = tuple[str | Path, float]
"""An adapter's folder or file, and its strength: 1 as trained, 0 for no effect."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter, resolved for one checkpoint.

    Attributes:
        path: its folder or file.
        digest: SHA-256 of its files, in hexadecimal.
        strength: how much of it is applied: 1 as trained.
        changes: by parameter; empty at strength 0.
    """

    path: Path
    digest: str
    strength: float
    changes: Mapping[str, Sequence[Change]]


def read_adapters(folder: Path, adapters: Sequence[AdapterChoice]) -> list[Adapter]:
    """Reads adapters and finds what they change in a checkpoint, whose weights are not read.

    Args:
        folder: the checkpoint.
        adapters: in any order.

    Returns:
        The adapters, sorted by content and strength, so that the order of `adapters` cannot change a sum.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if `adapters` holds anything else than pairs, or an adapter is broken, not supported, or
            for another model, or the checkpoint was saved with quantized weights.
    """
    choices = _checked(adapters)
    if not choices:
        return []
    saved = saved_precision(folder)
    if saved and any(strength for _, strength in choices):
        raise ValueError(
            f"adapters must change unquantized weights, got {folder}, which was saved in {saved}; apply "
            "them to the checkpoint that it was saved from"
        )
    layout, config = detect_layout(folder)
    names = _Names(folder, config, layout.key_map)
    files = {path: read_adapter(path) for path in dict.fromkeys(path for path, _ in choices)}
    found = [names.place(files[path], strength) for path, strength in choices]
    return sorted(found, key=lambda adapter: (adapter.digest, adapter.strength))


def _checked(adapters: object) -> list[tuple[Path, float]]:
    """Returns adapters with their strengths; raises ValueError for anything else than such pairs."""
    fix = "give a list of (path, strength), an empty one for no adapter"
    if not isinstance(adapters, Sequence) or isinstance(adapters, (str, bytes)):
        raise ValueError(f"adapters must be pairs of a path and a strength, got {shown(adapters)}; {fix}")
    choices = []
    for pair in adapters:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"adapters must be pairs of a path and a strength, got {shown(pair)}; {fix}")
        path, strength = checked_path("adapters", pair[0]), pair[1]
        if isinstance(strength, bool) or not isinstance(strength, Real) or not math.isfinite(strength):
            raise ValueError(
                f"strength must be a finite number, got {shown(strength)} for {path}; 1 is as trained"
            )
        choices.append((path, float(strength)))
    return choices


def merged_changes(adapters: Sequence[Adapter]) -> dict[str, list[Change]]:
    """Returns the changes of all adapters by parameter, in the order of the adapters."""
    merged: dict[str, list[Change]] = {}
    for adapter in adapters:
        for parameter, changes in adapter.changes.items():
            merged.setdefault(parameter, []).extend(changes)
    return merged


class _Names:
    """The tensor names of one model, in each layout that can describe it."""

    def __init__(self, folder: Path, config: JanusConfig, own: KeyMap) -> None:
        self._folder, self._tied = folder, config.body.tie_word_embeddings
        shapes: dict[str, Shape] = {
            name: shape
            for name, shape in parameter_shapes(build_on_meta(config)).items()
            if not name.startswith(VAE_PREFIX)
        }
        others = [layout.key_map for layout in LAYOUTS if layout.key_map is not own]
        self._layouts = [
            (key_map, key_map.expected_tensors(config, shapes))
            for key_map in (own, *others)
            if key_map.covers(shapes)
        ]

    def place(self, file: AdapterFile, strength: float) -> Adapter:
        """Finds the parameters that an adapter changes; refuses it if any tensor has no counterpart."""
        modules = split_names(file.tensors, file.path)
        places = find_places(modules.names, self._layouts)
        self._check_names(file, modules, places)
        changes: dict[str, list[Change]] = {}
        for module, matrices in modules.matrices.items():
            down, up, factor = _matrices(file, module, matrices)
            part = places.parts.get(f"{module}.weight")
            if part is not None:
                _check_shape(file, f"{module} of rank {len(down)}", _product_shape(down, up), part)
                change = LowRankChange(part.start, up.flatten(1), down.flatten(1), strength * factor)
                changes.setdefault(part.parameter, []).append(change)
        for name, weight in modules.weights.items():
            part = places.parts.get(name)
            if part is not None:
                _check_shape(file, name, tuple(weight.shape), part)
                rows = weight.reshape(part.shape[0], -1)
                changes.setdefault(part.parameter, []).append(Replacement(part.start, rows, strength))
        self._check_untied(file, changes)
        return Adapter(file.path, file.digest, strength, changes if strength else {})

    def _check_names(self, file: AdapterFile, modules: AdapterModules, places: Places) -> None:
        if not modules.names:
            raise ValueError(f"adapter {file.path} must hold tensors, got none; use an earlier save of it")
        if places.unknown:
            raise ValueError(
                f"adapter {file.path} must be for the model in {self._folder}, got {len(places.unknown)} of "
                f"{len(modules.names)} names that it lacks: {listed(sorted(places.unknown), 5)}; load the "
                "checkpoint it was trained on"
            )
        if places.unused:
            _log.info(
                "%s also has adapters of modules that Janus does not use: %s",
                file.path,
                ", ".join(places.unused),
            )

    def _check_untied(self, file: AdapterFile, changes: Mapping[str, Sequence[Change]]) -> None:
        if self._tied and changes.keys() & {EMBEDDING, LM_HEAD}:
            raise ValueError(
                f"adapter {file.path} must not change the embeddings, since input and output of "
                f"{self._folder} share them, got matrices for one; merge it into its checkpoint with peft"
            )


def _matrices(file: AdapterFile, module: str, found: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, float]:
    """Returns a module's matrices A [r, ...] and B [rows, r, ...], and the factor of `B @ A`."""
    if "embedding_down" in found and "embedding_up" in found:
        # PEFT stores those of an embedding transposed: A is [r, V] and B is [C, r].
        down, up = found["embedding_up"].T, found["embedding_down"].T
    elif "down" in found and "up" in found:
        down, up = found["down"], found["up"]
    else:
        raise ValueError(
            f"adapter {file.path} must hold two matrices of each module, got {', '.join(found)} alone of "
            f"{module}; use the whole file that the training wrote"
        )
    for matrix in (down, up):
        if not matrix.is_floating_point() or matrix.ndim < 2:
            raise ValueError(
                f"adapter {file.path} must hold matrices of floating-point numbers, got {matrix.dtype} of "
                f"shape {list(matrix.shape)} for {module}; use the adapter that was not quantized"
            )
    rank = len(down)
    if rank == 0 or up.shape[1] != rank:
        raise ValueError(
            f"adapter {file.path} must have matrices of the same rank, got {list(down.shape)} and "
            f"{list(up.shape)} for {module}; use the file that the training wrote"
        )
    return down, up, _factor(file, module, found.get("alpha"), rank)


def _factor(file: AdapterFile, module: str, alpha: Tensor | None, rank: int) -> float:
    """Returns a module's factor, from its alpha tensor or else from the adapter's config."""
    if alpha is not None and alpha.numel() == 1:
        return float(alpha) / rank
    scaling: Scaling | None = file.scaling
    if scaling is None:
        raise ValueError(
            f"adapter {file.path} must give its alpha, got neither adapter_config.json nor {module}.alpha; "
            "use the folder that the training wrote, with its adapter_config.json"
        )
    if scaling.rank(module) != rank:
        raise ValueError(
            f"adapter {file.path} must have the rank of its config, {scaling.rank(module)}, got {rank} for "
            f"{module}; use config and weights of the same adapter"
        )
    return scaling.factor(module)


def _product_shape(down: Tensor, up: Tensor) -> Shape:
    """Returns the shape of the weight that two matrices change; `down` has the kernel of a convolution."""
    return (len(up), *torch.Size(down.shape[1:]))


def _check_shape(file: AdapterFile, name: str, shape: Shape, part: ParameterSlice) -> None:
    """Refuses a shape that differs from the checkpoint's tensor, trailing dimensions of 1 aside."""
    if _without_ones(shape) != _without_ones(part.source_shape):
        raise ValueError(
            f"adapter {file.path} must be for a model of these sizes: {name} must change a weight of shape "
            f"{list(part.source_shape)}, got {list(shape)}; load the checkpoint it was trained on"
        )


def _without_ones(shape: Shape) -> Shape:
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
