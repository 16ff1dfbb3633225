"""Rows of JSONL files: one JSON object in each line, as `metadata.jsonl` of *Janus Caption Folder*."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..rows import Row, content_id
from .records import RecordReader


class JsonLines:
    """Lines of some files; paths in a line are relative to its file, or to the reader's root."""

    def __init__(
        self, files: Sequence[Path], folder: Path, reader: RecordReader, by_file: bool = True
    ) -> None:
        self.files, self._folder, self._reader, self._by_file = files, folder, reader, by_file
        for file in files:
            with file.open("rb") as lines:
                lines.read(1)  # raises OSError if it cannot be read

    def rows(self) -> Iterator[Row]:
        """The rows of the first file, then of the next."""
        for file in self.files:
            below = file.parent.relative_to(self._folder).as_posix()
            for line in self._lines(file):
                yield self._row(line, "" if below == "." else below)

    def count(self) -> int:
        """The number of lines that are not blank."""
        return sum(1 for file in self.files for _ in self._lines(file))

    def _lines(self, file: Path) -> Iterator[str]:
        # A byte that is not UTF-8 must not end the run: its line says so.
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            yield from (line for line in lines if line.strip())

    def _row(self, line: str, below: str) -> Row:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            return Row(content_id(line), problem=f"line must be a JSON object, got: {error}; fix the line")
        if not isinstance(record, dict):
            problem = f"line must be a JSON object, got {line.strip()[:80]!r}; fix the line"
            return Row(content_id(line), problem=problem)
        if below and self._by_file:
            return self._in_subfolder(record, below)
        return self._reader.row(record)

    def _in_subfolder(self, record: dict[str, Any], below: str) -> Row:
        """The row of a file in a subfolder: its paths, and so ids, are relative to the source."""
        row = replace(self._reader, root=(self._folder / below).resolve()).row(record)
        file_name = (PurePosixPath(below) / row.file_name).as_posix() if row.file_name else ""
        return replace(row, file_name=file_name, id=file_name if row.id == row.file_name else row.id)
