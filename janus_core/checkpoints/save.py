"""Writes safetensors: a model in its original layout, or a copy of a folder's pickles."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..config import FlowGenerationConfig, JanusConfig
from ..file_io import write_atomically
from ..models.janus import Janus
from ..models.quantized.registry import check_savable, is_int4, quantization_factors
from .files import WEIGHT_SUFFIXES, find_weight_files
from .fill import OnProgress
from .keymap import KeyMap, ParameterSlice
from .layouts import LAYOUTS
from .layouts.vae import (
    DIFFUSERS_WEIGHTS,
    VAE_PREFIX,
    diffusers_key_map,
    single_file_key_map,
    write_diffusers_config,
)
from .load import check_weights
from .reading import is_pickle, load_pickle
from .sources import QUANTIZED_ENTRY

MAX_SHARD_BYTES = 5 * 10**9


def create_folder(folder: Path) -> None:
    """Creates the folder for a new model; refuses one that already holds a config.json or weights."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = [
        path.name
        for path in folder.iterdir()
        if path.name == "config.json" or path.suffix.lower() in WEIGHT_SUFFIXES
    ]
    if taken:
        raise FileExistsError(
            f"{folder} must not hold a model yet, got {', '.join(sorted(taken))}; choose another folder"
        )


def save_model(model: Janus, folder: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Writes config.json and weights in the original layout, into a new folder.

    A model larger than `max_shard_bytes` is split into several files with an index.
    """
    check_savable(model)
    create_folder(folder)
    parameters: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    vae = {name: parameters.pop(name) for name in list(parameters) if name.startswith(VAE_PREFIX)}
    weights = parameters.keys() - quantization_factors(model)
    layout, write_config = next(
        (layout, layout.write_config)
        for layout in LAYOUTS
        if layout.write_config is not None and layout.key_map.covers(weights)
    )
    shards = _split(_parts(layout.key_map, model.config, parameters), parameters, max_shard_bytes)
    weight_map: dict[str, str] = {}
    for name, shard in zip(_shard_names(len(shards)), shards, strict=True):
        _write_tensors(folder / name, _extract(parameters, shard))
        weight_map |= dict.fromkeys(shard, name)
    _write_index(folder, weight_map, sum(parameter.nbytes for parameter in parameters.values()))
    if vae:
        _save_vae(model, vae, folder / "vae")
    # Last, so that an interrupted save is never mistaken for a complete checkpoint.
    dtype_name = str(model.body.norm.weight.dtype).removeprefix("torch.")
    quantized = {QUANTIZED_ENTRY: "int4"} if is_int4(model) else {}
    _write_json(folder / "config.json", write_config(model.config, dtype_name) | quantized)


def convert_bin(folder: Path, on_progress: OnProgress | None = None) -> list[Path]:
    """Writes a safetensors copy of every pickle (`.bin`, `.pt`, …) of a checkpoint folder, beside it.

    Tensors keep their names and the originals stay. Later loads use the copy.

    Args:
        folder: a complete checkpoint.
        on_progress: called with files written and files in total; raise to cancel.

    Returns:
        The files written; empty if the folder already has safetensors.

    Raises:
        FileNotFoundError: if the checkpoint is incomplete.
        ValueError: if its weights do not match its config.json; nothing is written then.
    """
    sources = find_weight_files(folder)
    if not is_pickle(sources[0]):
        return []
    check_weights(folder)
    names = _shard_names(len(sources))
    weight_map: dict[str, str] = {}
    total_bytes = 0
    for index, (name, source) in enumerate(zip(names, sources, strict=True)):
        if on_progress is not None:
            on_progress(index, len(sources))
        # Copies, because safetensors refuses tensors that share memory or are not contiguous.
        tensors = {
            key: tensor.clone(memory_format=torch.contiguous_format)
            for key, tensor in load_pickle(source).items()
        }
        _write_tensors(folder / name, tensors)
        weight_map |= dict.fromkeys(tensors, name)
        total_bytes += sum(tensor.nbytes for tensor in tensors.values())
    _write_index(folder, weight_map, total_bytes)
    return [folder / name for name in names]


def vae_tensors(model: Janus) -> dict[str, Tensor]:
    """Copies the weights of a model's VAE, with the names of its training code; empty without a VAE."""
    config = model.config.generation
    vae = config.vae if isinstance(config, FlowGenerationConfig) else None
    if vae is None:
        return {}
    named = model.named_parameters(remove_duplicate=False)
    parameters: dict[str, Tensor] = {name: value for name, value in named if name.startswith(VAE_PREFIX)}
    key_map = single_file_key_map(len(vae.block_out_channels))
    return _extract(parameters, _parts(key_map, model.config, parameters))


def _save_vae(model: Janus, parameters: dict[str, Tensor], folder: Path) -> None:
    """Writes the VAE as diffusers does, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    parts = _parts(diffusers_key_map(), model.config, parameters)
    _write_tensors(folder / DIFFUSERS_WEIGHTS, _extract(parameters, parts))
    vae = model.flow_generation.vae
    assert vae is not None  # its parameters are being saved
    _write_json(folder / "config.json", write_diffusers_config(vae.config))


def _parts(key_map: KeyMap, config: JanusConfig, parameters: dict[str, Tensor]) -> dict[str, ParameterSlice]:
    return key_map.expected_tensors(config, {name: tuple(value.shape) for name, value in parameters.items()})


def _split(
    parts: dict[str, ParameterSlice], parameters: dict[str, Tensor], max_shard_bytes: int
) -> list[dict[str, ParameterSlice]]:
    """Distributes tensors over files of at most `max_shard_bytes`, in order."""
    shards: list[dict[str, ParameterSlice]] = [{}]
    shard_bytes = 0
    for name, part in parts.items():
        num_bytes = math.prod(part.shape) * parameters[part.parameter].element_size()
        if shards[-1] and shard_bytes + num_bytes > max_shard_bytes:
            shards.append({})
            shard_bytes = 0
        shards[-1][name] = part
        shard_bytes += num_bytes
    return shards


def _extract(parameters: dict[str, Tensor], parts: dict[str, ParameterSlice]) -> dict[str, Tensor]:
    """Copies parts of parameters into tensors of the checkpoint's shapes."""
    # Copies, because safetensors refuses tensors that share memory, as tied embeddings and fused weights do.
    return {
        name: parameters[part.parameter][part.start : part.end]
        .detach()
        .cpu()
        .contiguous()
        .clone()
        .reshape(part.source_shape)
        for name, part in parts.items()
    }


def _shard_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _write_index(folder: Path, weight_map: dict[str, str], total_size: int) -> None:
    """Writes the index of a checkpoint's shards; a single file needs none."""
    if len(set(weight_map.values())) > 1:
        content = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
        _write_json(folder / "model.safetensors.index.json", content)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    write_atomically(path, lambda partial: save_file(tensors, partial, metadata={"format": "pt"}))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2).encode())
