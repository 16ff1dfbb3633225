"""Parts as JSONL: one JSON object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..rows import Result
from .parts import PartForm


def line(result: Result) -> bytes:
    """A result without the values that it does not have, as a line."""
    values = {name: value for name, value in result.items() if value not in (None, "")}
    try:
        return f"{json.dumps(values, ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:  # only escapes can write halves of surrogate pairs and bytes of file names
        return f"{json.dumps(values)}\n".encode()


def _write(path: Path, results: Sequence[Result], columns: dict[str, str]) -> None:
    with path.open("wb") as file:
        file.writelines(map(line, results))


def _read(path: Path) -> list[Result]:
    return list(_lines(path))


def _lines(path: Path) -> Iterator[Result]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _ids(path: Path) -> Iterator[tuple[str, bool]]:
    yield from ((result["id"], "error" in result) for result in _lines(path))


JSONL = PartForm(".jsonl", _write, _read, _ids)
