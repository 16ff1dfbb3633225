"""Output in parts: files of some rows each, which are there completely or not at all.

A part's name and content follow from its rows. If two workers write the same part, because one of them was
taken for dead, the second replaces the file of the first by an equal one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from ...file_io import write_atomically
from ..rows import Result, digest


@dataclass(frozen=True)
class PartForm:
    """A format of parts.

    Attributes:
        ending: of the files' names.
        write: writes results to a path, with the types of their columns.
        read: all results in a file.
        ids: only their ids, and whether each has an error.
    """

    ending: str
    write: Callable[[Path, Sequence[Result], dict[str, str]], None]
    read: Callable[[Path], list[Result]]
    ids: Callable[[Path], Iterator[tuple[str, bool]]]


class Sink(Protocol):
    """Where results go."""

    def done(self) -> set[bytes]:
        """Digests of the ids of all rows that are in the output."""

    def write(self, number: int, results: Sequence[Result]) -> None:
        """Writes the rows of a part, which all have an id of their own."""

    def drop_failed(self) -> int:
        """Removes the rows that failed, so that they are computed again; returns their number."""

    def refused(self, row_id: str) -> str:
        """Why a row cannot be written; empty if it can."""


class Parts:
    """A folder of parts."""

    def __init__(self, folder: Path, form: PartForm, columns: dict[str, str], prefix: str = "part") -> None:
        self.folder, self._form, self._columns, self._prefix = folder, form, columns, prefix

    def files(self) -> list[Path]:
        """The parts that are complete, in the order of the source."""
        return sorted(self.folder.glob(f"{self._prefix}-*{self._form.ending}"))

    def done(self) -> set[bytes]:
        """Digests of the ids of all rows in the parts."""
        return {digest(row_id) for file in self.files() for row_id, _ in _checked(self._form.ids, file)}

    def write(self, number: int, results: Sequence[Result]) -> None:
        """Writes a part."""
        key = blake2b(b"".join(digest(result["id"]) for result in results), digest_size=8).hexdigest()
        self._write(self.folder / f"{self._prefix}-{number:08d}-{key}{self._form.ending}", results)

    def drop_failed(self) -> int:
        """Removes the rows that failed from all parts; returns their number."""
        dropped = 0
        for file in self.files():
            failed = sum(error for _, error in _checked(self._form.ids, file))
            if not failed:
                continue
            dropped += failed
            kept = [result for result in self._form.read(file) if not result.get("error")]
            if kept:
                self._write(file, kept)
            else:
                file.unlink()
        return dropped

    def refused(self, row_id: str) -> str:
        """Any row can be written."""
        return ""

    def _write(self, path: Path, results: Sequence[Result]) -> None:
        write_atomically(path, lambda partial: self._form.write(partial, results, self._columns))


def _checked(read: Callable[[Path], Iterator[tuple[str, bool]]], file: Path) -> Iterator[tuple[str, bool]]:
    try:
        yield from read(file)
    except Exception as error:  # of the libraries that read them
        raise ValueError(
            f"output must hold parts that can be read, got {file}: {error}; move it away"
        ) from error
