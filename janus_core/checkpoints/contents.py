"""Lazy view of a checkpoint folder: its files, config.json and tensor descriptions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..file_io import read_json_if_present
from .files import weight_files
from .reading import TensorInfo, read_infos


@dataclass(frozen=True)
class Contents:
    """A folder's weight files, config.json and tensor descriptions, each read at first use."""

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json; empty without one."""
        return read_json_if_present(self.folder / "config.json")

    @cached_property
    def weights(self) -> list[Path]:
        """The weight files that exist."""
        return [file for file in weight_files(self.folder) if file.is_file()]

    @cached_property
    def infos(self) -> dict[str, TensorInfo]:
        """Descriptions of all tensors by name, grouped by file; a ValueError if two files share a name."""
        infos: dict[str, TensorInfo] = {}
        for file in self.weights:
            found = read_infos(file)
            twice = sorted(found.keys() & infos.keys())
            if twice:
                other = infos[twice[0]].file
                raise ValueError(
                    f"{self.folder} must hold each tensor once, got {twice[0]} in {other.name} and in "
                    f"{file.name}; download the checkpoint again"
                )
            infos |= found
        return infos
