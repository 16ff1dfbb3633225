"""Reads `edits.jsonl`: edits by instruction between the images of a folder, one per line."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .json_lines import read_json_lines
from .problems import Problems

EDITS = "edits.jsonl"
_KEYS = ("source", "instruction", "target")


@dataclass(frozen=True)
class FolderEdit:
    """An instruction, the image that it changes, and the image that this leads to."""

    source: Path
    instruction: str
    target: Path


def read_edits(folder: Path, images: Collection[Path], problems: Problems) -> list[FolderEdit]:
    """Reads the edits of a folder; an empty list if it has no file of them.

    Args:
        folder: the folder.
        images: its images.
        problems: collects an error for each invalid line.
    """
    return read_json_lines(
        folder / EDITS, lambda place, line: _parse_line(place, line, folder, images), problems
    )


def _parse_line(place: str, line: str, folder: Path, images: Collection[Path]) -> FolderEdit:
    try:
        entry: dict[str, Any] = json.loads(line)
        values = [entry[key] for key in _KEYS]
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise ValueError("all three must be texts that are not empty")
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f'{place} must be {{"source": "a.png", "instruction": …, "target": "b.png"}}, got {line[:80]!r} '
            f"({error}); fix the line"
        ) from error
    source, instruction, target = values
    for name in (source, target):
        if folder / name not in images:
            raise FileNotFoundError(f"{place} must name images in {folder}, got {name!r}; fix the line")
    return FolderEdit(folder / source, instruction, folder / target)
