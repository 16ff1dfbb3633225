"""Writing safetensors: a model in the original layout, or a copy of a folder's pickles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..file_io import write_atomically
from ..models.cpu.registry import check_not_quantized
from ..models.janus import Janus
from .configs import to_original
from .configs_flow import to_diffusers, to_flow
from .files import find_weight_files, map_tensors, read_infos
from .fill import OnProgress
from .keymap import Layout, Place, covers, places
from .keymaps import ORIGINAL
from .keymaps_flow import FLOW, VAE_PREFIX, diffusers_vae
from .load import check_weights
from .vae import DIFFUSERS_WEIGHTS

MAX_SHARD_BYTES = 5 * 10**9

# Layouts that are written, with the writer of their config.json; the one that names all of a model's
# parameters is taken.
_WRITERS = ((ORIGINAL, to_original), (FLOW, to_flow))


def make_free_folder(folder: Path) -> None:
    """Makes a folder for a model.

    Raises:
        FileExistsError: if there is one that already holds a config.json or weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = [
        path.name
        for path in folder.iterdir()
        if path.name == "config.json" or path.suffix in (".safetensors", ".bin")
    ]
    if taken:
        raise FileExistsError(
            f"{folder} must not hold a model yet, got {', '.join(sorted(taken))}; choose another folder"
        )


def save_model(model: Janus, folder: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Writes config.json and weights in the original layout.

    Args:
        model: any dtype and device.
        folder: made if it does not exist.
        max_shard_bytes: a larger model is split, with an index.

    Raises:
        FileExistsError: if the folder already holds a config.json or weights; nothing is overwritten.
        ValueError: if layers hold narrow weights.
    """
    check_not_quantized(model)
    make_free_folder(folder)
    state: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    vae = {name: state.pop(name) for name in list(state) if name.startswith(VAE_PREFIX)}
    layout, write_config = next(row for row in _WRITERS if covers(row[0], state))
    shards = list(_shards(layout, model, state, max_shard_bytes))
    names = _shard_names(len(shards))
    for file_name, shard in zip(names, shards, strict=True):
        _write(folder / file_name, {source: _source_tensor(state, place) for source, place in shard.items()})
    if len(shards) > 1:
        sizes = sum(parameter.nbytes for parameter in state.values())
        _write_index(
            folder, {name: file for file, shard in zip(names, shards, strict=True) for name in shard}, sizes
        )
    if vae:
        _save_vae(model, vae, folder / "vae")
    dtype = str(model.body.embed_tokens.weight.dtype).removeprefix("torch.")
    _write_text(folder / "config.json", json.dumps(write_config(model.config, dtype), indent=2))


def _save_vae(model: Janus, state: dict[str, Tensor], folder: Path) -> None:
    """Writes the VAE as diffusers does, in a folder of its own."""
    folder.mkdir(exist_ok=True)
    (shard,) = _shards(diffusers_vae("diffusers VAE"), model, state, MAX_SHARD_BYTES)
    _write(
        folder / DIFFUSERS_WEIGHTS,
        {source: _source_tensor(state, place) for source, place in shard.items()},
    )
    vae = model.flow_generation.vae
    assert vae is not None
    _write_text(folder / "config.json", json.dumps(to_diffusers(vae.config), indent=2))


def convert_bin(folder: Path, on_progress: OnProgress | None = None) -> list[Path]:
    """Writes a safetensors copy of every `.bin` file of a checkpoint folder, beside it.

    Tensors keep their names. The sources stay. Later loads take the copy.

    Args:
        folder: a whole checkpoint.
        on_progress: called with files written and files in all; may raise to stop in between.

    Returns:
        The files written; empty if the folder already has safetensors.

    Raises:
        FileNotFoundError: if the checkpoint is not whole.
        ValueError: if its weights are not those that its config.json describes; nothing is written then.
    """
    sources = find_weight_files(folder)
    if sources[0].suffix != ".bin":
        return []
    check_weights(folder)
    names = _shard_names(len(sources))
    weight_map: dict[str, str] = {}
    size = 0
    for index, (name, source) in enumerate(zip(names, sources, strict=True)):
        if on_progress is not None:
            on_progress(index, len(sources))
        # Copies: safetensors refuses tensors that share memory or do not lie in one piece.
        tensors = {
            key: tensor.clone(memory_format=torch.contiguous_format)
            for key, tensor in map_tensors(source, read_infos(source)).items()
        }
        _write(folder / name, tensors)
        weight_map |= dict.fromkeys(tensors, name)
        size += sum(tensor.nbytes for tensor in tensors.values())
    if len(names) > 1:
        _write_index(folder, weight_map, size)
    return [folder / name for name in names]


def _shards(
    layout: Layout, model: Janus, state: dict[str, Tensor], max_shard_bytes: int
) -> Iterator[dict[str, Place]]:
    shard: dict[str, Place] = {}
    size = 0
    shapes = {name: tuple(parameter.shape) for name, parameter in state.items()}
    for source, place in places(layout, model.config, shapes).items():
        parameter = state[place.target]
        num_bytes = parameter.nbytes * place.length // parameter.shape[0]
        if shard and size + num_bytes > max_shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[source] = place
        size += num_bytes
    yield shard


def _source_tensor(state: dict[str, Tensor], place: Place) -> Tensor:
    rows = state[place.target].detach()[place.start : place.start + place.length]
    # A copy: safetensors refuses tensors that share memory, as tied embeddings and parts of one parameter do.
    rows = rows.cpu().contiguous().clone()
    return rows.reshape(place.source_shape(tuple(state[place.target].shape)))


def _shard_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{index:05d}-of-{count:05d}.safetensors" for index in range(1, count + 1)]


def _write_index(folder: Path, weight_map: dict[str, str], total_size: int) -> None:
    content = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    _write_text(folder / "model.safetensors.index.json", json.dumps(content, indent=2))


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    write_atomically(path, lambda partial: save_file(tensors, partial, metadata={"format": "pt"}))


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, text.encode())
