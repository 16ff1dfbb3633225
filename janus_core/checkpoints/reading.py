"""Tensors out of files, a few rows at a time, into memory that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from .files import TensorInfo, can_be_mapped, map_tensors

# Bytes that are read at a time: enough for the disk, few enough to be told of and to be stopped in between.
PART_BYTES = 2**23

# A pickle is read through this many mappings, one after the other, each of a megabyte at least. A page that
# was read counts as memory in use until its mapping ends, so loading holds the model and this share of it.
NUM_MAPPINGS = 32
MIN_MAPPED_BYTES = 2**20


@dataclass
class Rows:
    """Some rows of a tensor in a file, which are read when they are copied.

    Attributes:
        name: of the tensor.
        start: the first row.
        shape: of the rows together.
        num_bytes: that they take in the file.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    num_bytes: int

    def copy_to(self, target: Tensor) -> None:
        """Reads them into a tensor of as many numbers, of any dtype, on any device."""
        raise NotImplementedError


@dataclass
class _MappedRows(Rows):
    rows: Tensor

    def copy_to(self, target: Tensor) -> None:
        target.copy_(self.rows.reshape(target.shape))


@dataclass
class _StoredRows(Rows):
    stream: BinaryIO
    offset: int
    dtype: torch.dtype
    staging: Tensor

    def copy_to(self, target: Tensor) -> None:
        direct = target.device.type == "cpu" and target.dtype is self.dtype and target.is_contiguous()
        stored = target if direct else self.staging[: self.num_bytes].view(self.dtype)
        view = stored.view(-1).view(torch.uint8).numpy().data
        self.stream.seek(self.offset)
        done = 0
        while done < self.num_bytes:
            count = self.stream.readinto(view[done:])  # type: ignore[attr-defined]
            if not count:
                raise ValueError(
                    f"{self.stream.name} must stay as it is while it is read, got its end at {self.name}; "
                    "load it again"
                )
            done += count
        if not direct:
            target.copy_(stored.view(target.shape))


def read_tensors(file: Path, infos: dict[str, TensorInfo]) -> Iterator[Rows]:
    """Yields the named tensors of a file, large ones in parts: copy each before asking for the next one."""
    if file.suffix == ".bin":
        yield from _mapped(file, infos)
        return
    longest = max((info.num_bytes // info.shape[0] for info in infos.values()), default=0)
    # One for all that needs another dtype or device: many would leave holes in the memory that is in use.
    staging = torch.empty(max(PART_BYTES, longest), dtype=torch.uint8)
    with file.open("rb", buffering=0) as stream:
        for name, start, end in (row for group in _groups(infos, PART_BYTES) for row in group):
            info = infos[name]
            row_bytes = info.num_bytes // info.shape[0]
            shape, num_bytes = (end - start, *info.shape[1:]), (end - start) * row_bytes
            offset = info.offset + start * row_bytes
            yield _StoredRows(name, start, shape, num_bytes, stream, offset, info.dtype, staging)


def _mapped(file: Path, infos: dict[str, TensorInfo]) -> Iterator[Rows]:
    num_bytes = sum(info.num_bytes for info in infos.values())
    # A pickle of the old, unzipped kind cannot be mapped and is read whole, so once.
    mapped_bytes = max(num_bytes // NUM_MAPPINGS, MIN_MAPPED_BYTES) if can_be_mapped(file) else num_bytes
    for group in _groups(infos, mapped_bytes):
        tensors = map_tensors(file, {name for name, _, _ in group})
        parts = [(name, start, tensors[name][start:end]) for name, start, end in group]
        del tensors
        while parts:
            name, start, rows = parts.pop(0)
            yield _MappedRows(name, start, tuple(rows.shape), rows.nbytes, rows)


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
