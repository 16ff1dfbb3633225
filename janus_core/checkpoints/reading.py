"""Streams tensors in chunks out of memory-mapped weight files."""

from __future__ import annotations

import logging
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .keymap import ParameterSlice, Shape
from .unwrapping import unwrap

_log = logging.getLogger(__name__)

# Chunks are large enough for the disk, and small enough for a smooth progress bar and quick cancelling.
CHUNK_BYTES = 2**23

# Pages that were read stay resident until unmapped, so each file is remapped after every 1/64 of it (8 MB
# at least): loading needs memory for the model and one such part. A pickle is remapped less often,
# because that takes a tenth of a second.
MAPPINGS_PER_FILE = 64
MAPPINGS_PER_PICKLE = 32
MIN_MAPPED_BYTES = 2**23

# What torch.load raises for damaged files, besides RuntimeError and UnpicklingError. ValueError includes
# UnicodeDecodeError, and LookupError both KeyError and IndexError.
_DAMAGE = (
    *(AssertionError, AttributeError, EOFError, LookupError, OverflowError, TypeError, ValueError),
    *(struct.error, zipfile.BadZipFile),
)

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
}
# Stands for any other dtype, which weights cannot have.
_OTHER = torch.bool


@dataclass(frozen=True)
class TensorInfo:
    """Description of a tensor in a file, known before its values are read."""

    file: Path
    name: str
    shape: Shape
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Size of its values in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def is_pickle(file: Path) -> bool:
    """Whether a weight file is no safetensors, which begin with eight bytes and a JSON object."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] != b"{"


def read_infos(file: Path) -> dict[str, TensorInfo]:
    """Describes a file's tensors by name, without reading their values; refuses a damaged file."""
    with _naming_errors(file):
        if is_pickle(file):
            tensors, others = unwrap(_load(file), file)
            if others:
                _log.warning("%s: left out, these entries are not the model's weights: %s", file, others)
            return {
                name: TensorInfo(file, name, tuple(tensor.shape), tensor.dtype)
                for name, tensor in tensors.items()
            }
        infos = {}
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():
                part = opened.get_slice(name)
                dtype = _SAFETENSORS_DTYPES.get(part.get_dtype(), _OTHER)
                infos[name] = TensorInfo(file, name, tuple(part.get_shape()), dtype)
        return infos


def read_chunks(
    tensors: Iterable[tuple[TensorInfo, ParameterSlice]],
) -> Iterator[tuple[TensorInfo, ParameterSlice, int, Tensor]]:
    """Reads tensors, grouped by file, a few megabytes at a time.

    Yields:
        The pair, and a chunk of the tensor in the part's shape: its first index, and its values. Copying them
        reads them from the file. Copy them before the next chunk and keep no reference, which would keep
        the mapping open.
    """
    file: Path | None = None
    mapped_bytes, limit = 0, 0.0
    for info, part in tensors:
        length = part.shape[0]
        step = max(CHUNK_BYTES * length // info.num_bytes, 1)
        for start in range(0, length, step):
            if info.file != file or mapped_bytes >= limit:
                file, get_tensor = info.file, map_file(info.file)
                mapped_bytes, limit = 0, _mapping_limit(info.file)
            values = get_tensor(info.name).reshape(part.shape)[start : start + step]
            mapped_bytes += values.nbytes
            yield info, part, start, values
            del values  # it would keep this mapping open beside the next


def map_file(file: Path) -> Callable[[str], Tensor]:
    """Maps a file into memory; returns a function that gives the named tensor as a view of the mapping."""
    with _naming_errors(file):
        if is_pickle(file):
            return load_pickle(file).__getitem__
        return safe_open(file, framework="pt").get_tensor


def _mapping_limit(file: Path) -> float:
    """Bytes to read from a file through one mapping."""
    if not _can_be_mapped(file):
        return math.inf  # each further mapping would read the whole file again
    count = MAPPINGS_PER_PICKLE if is_pickle(file) else MAPPINGS_PER_FILE
    return max(file.stat().st_size // count, MIN_MAPPED_BYTES)


def load_pickle(file: Path) -> dict[str, Tensor]:
    """Loads the tensors of a pickle, mapped into memory if its format allows that."""
    return unwrap(_load(file), file)[0]


def _load(file: Path) -> object:
    with file.open("rb") as stream:
        start = stream.read(2)
    if start != b"PK" and start[:1] != b"\x80":
        raise RuntimeError("neither a zip archive nor a pickle")
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=_can_be_mapped(file))
    except _DAMAGE as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _can_be_mapped(file: Path) -> bool:
    """Pickles of PyTorch before 1.6 are no zip archives and can only be read whole."""
    return not is_pickle(file) or zipfile.is_zipfile(file)


@contextmanager
def _naming_errors(file: Path) -> Iterator[None]:
    """Turns a reader's error into one that names the file and the fix."""
    try:
        yield
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{file} must hold tensors only, got a pickle with other objects, which was refused and not run; "
            "do not use this file, but one with the model's state_dict alone or in safetensors"
            f"{f' (it needs {code.group(1)})' if code else ''}"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{file} must be a complete weights file, got: {error}; download it again"
        ) from error
