"""The files of a checkpoint folder, and tensors out of them a few at a time."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# A file is read through this many mappings, one after the other, each of a megabyte at least. A page that was
# read counts as memory in use until its mapping ends, so loading holds the model and this share of the file.
NUM_MAPPINGS = 32
MIN_MAPPED_BYTES = 2**20

_WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor before it is read."""

    file: Path
    shape: tuple[int, ...]
    num_bytes: int
    is_float: bool


def missing_files(folder: Path) -> list[str]:
    """Names of the files that a checkpoint folder lacks; empty if it is whole.

    Raises:
        ValueError: if a shard index is broken or points outside the folder.
    """
    missing = [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]
    weights = _weight_files(folder)
    if not weights:
        missing.append("model.safetensors or pytorch_model.bin (or their shards with an index)")
    return missing + [file.name for file in weights if not file.is_file()]


def find_weight_files(folder: Path) -> list[Path]:
    """The files that hold a whole checkpoint's weights; safetensors before pickles.

    Raises:
        FileNotFoundError: if the checkpoint is not whole; it lists what is missing.
        ValueError: if a shard index is broken or points outside the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"checkpoint must be a folder, got {folder}, which does not exist; check the name"
        )
    missing = missing_files(folder)
    if missing:
        raise FileNotFoundError(
            f"{folder} must hold a whole checkpoint, got none of these: {', '.join(missing)}; download them "
            "again"
        )
    return _weight_files(folder)


def _weight_files(folder: Path) -> list[Path]:
    """What the weights should lie in; empty if nothing says."""
    sets = [
        _shards(folder / name) if name.endswith(".index.json") else [folder / name]
        for name in _WEIGHT_FILES
        if (folder / name).is_file()
    ]
    whole = (files for files in sets if all(file.is_file() for file in files))
    return next(whole, sets[0] if sets else [])


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{index} must be a shard index with a weight_map, got: {error!r}; download it again"
        ) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise ValueError(
                f"{index} must name files in its own folder, got {name!r}; do not use this checkpoint"
            )
    return [index.parent / name for name in names]


def read_infos(file: Path) -> dict[str, TensorInfo]:
    """Names, shapes and sizes of a file's tensors, in the order in which they lie there."""
    with _naming(file):
        if file.suffix != ".bin":
            with safe_open(file, framework="pt") as tensors:
                return {
                    name: TensorInfo(
                        file, tuple(part.get_shape()), _safetensors_bytes(part), "F" in part.get_dtype()
                    )
                    for name in tensors.keys()
                    for part in (tensors.get_slice(name),)
                }
        return {
            name: TensorInfo(file, tuple(tensor.shape), tensor.nbytes, tensor.is_floating_point())
            for name, tensor in _load_bin(file).items()
        }


def read_tensors(file: Path, infos: dict[str, TensorInfo]) -> Iterator[tuple[str, int, Tensor]]:
    """Yields the named tensors of a file, large ones in parts.

    A part is a view of the mapped file: copy it before asking for the next one.

    Yields:
        Name, first row, and the rows from there on, on the CPU.
    """
    num_bytes = sum(info.num_bytes for info in infos.values())
    # A pickle of the old, unzipped kind cannot be mapped and is read whole, so once.
    mapped_bytes = max(num_bytes // NUM_MAPPINGS, MIN_MAPPED_BYTES) if _can_be_mapped(file) else num_bytes
    for group in _groups(infos, mapped_bytes):
        tensors = map_tensors(file, {name for name, _, _ in group})
        parts = [(name, start, tensors[name][start:end]) for name, start, end in group]
        del tensors
        while parts:
            yield parts.pop(0)


def map_tensors(file: Path, names: Collection[str]) -> dict[str, Tensor]:
    """The named tensors of a file, as views of a mapping that ends with the last of them."""
    with _naming(file):
        if file.suffix == ".bin":
            loaded = _load_bin(file)
            return {name: loaded[name] for name in names}
        with safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in names}


def _groups(infos: dict[str, TensorInfo], group_bytes: int) -> Iterator[list[tuple[str, int, int]]]:
    """Names with first and last row, in groups of about `group_bytes`."""
    group: list[tuple[str, int, int]] = []
    size = 0
    for name, info in infos.items():
        rows = info.shape[0]
        row_bytes = max(info.num_bytes // rows, 1)
        step = max(group_bytes // row_bytes, 1)
        for start in range(0, rows, step):
            end = min(start + step, rows)
            if group and size + (end - start) * row_bytes > group_bytes:
                yield group
                group, size = [], 0
            group.append((name, start, end))
            size += (end - start) * row_bytes
    if group:
        yield group


def _safetensors_bytes(part: object) -> int:
    bits = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16}.get(part.get_dtype(), 8)  # type: ignore[attr-defined]
    count = 1
    for size in part.get_shape():  # type: ignore[attr-defined]
        count *= size
    return count * bits // 8


def _can_be_mapped(file: Path) -> bool:
    """Whether parts of a file can be read alone."""
    return file.suffix != ".bin" or zipfile.is_zipfile(file)


def _load_bin(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as stream:
        start = stream.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise RuntimeError("what is neither a zip archive nor a pickle")
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=_can_be_mapped(file))
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"{file} must hold a dictionary of tensors; it is not a model's weights")
    return content


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Turns a reader's error into one that names the file and what to do."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{file} must hold tensors only, got a pickle with other objects, which was refused and not run; "
            "do not use this file"
        ) from error
    except (SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{file} must be a complete weights file, got: {error}; download it again"
        ) from error
