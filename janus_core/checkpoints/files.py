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

# What a weight may be; all others are no floating-point numbers to us.
_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}

_WEIGHT_FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


@dataclass(frozen=True)
class TensorInfo:
    """What a file says of a tensor before it is read.

    Attributes:
        file: where it is.
        shape: its shape.
        dtype: its dtype; uint8 stands for all that are no floating-point numbers to PyTorch.
        num_bytes: that it takes in the file.
        offset: of its first byte in a safetensors file; 0 in others.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    num_bytes: int
    offset: int = 0


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
            return _read_header(file)
        return {
            name: TensorInfo(file, tuple(tensor.shape), tensor.dtype, tensor.nbytes)
            for name, tensor in _load_bin(file).items()
        }


def _read_header(file: Path) -> dict[str, TensorInfo]:
    with safe_open(file, framework="pt"):
        pass  # it has checked that the header is sound and the file as long as it says
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    rows = sorted((*row["data_offsets"], name) for name, row in header.items())
    return {
        name: TensorInfo(
            file,
            tuple(header[name]["shape"]),
            _SAFETENSORS_DTYPES.get(header[name]["dtype"], torch.uint8),
            end - start,
            8 + length + start,
        )
        for start, end, name in rows
    }


def map_tensors(file: Path, names: Collection[str]) -> dict[str, Tensor]:
    """The named tensors of a file, as views of a mapping that ends with the last of them."""
    with _naming(file):
        if file.suffix == ".bin":
            loaded = _load_bin(file)
            return {name: loaded[name] for name in names}
        with safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_tensor(name) for name in names}


def can_be_mapped(file: Path) -> bool:
    """Whether parts of a file can be read alone."""
    return file.suffix != ".bin" or zipfile.is_zipfile(file)


def _load_bin(file: Path) -> dict[str, Tensor]:
    with file.open("rb") as stream:
        start = stream.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise RuntimeError("what is neither a zip archive nor a pickle")
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=can_be_mapped(file))
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
