"""Rows from records of named values: lines of JSONL, rows of parquet files, samples of tars."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import numpy as np

from ...arguments import shown
from ..rows import Row, content_id
from ..tasks import Task

_SURROGATES = re.compile("[\ud800-\udfff]")
IDS = ("id", "__key__")
# The content of a file, its path, or the struct of both that the datasets library writes.
IMAGES = ("image", "file_name", "image_path", "path", "png", "jpg", "jpeg", "webp")


@dataclass(frozen=True)
class Columns:
    """Names of columns; empty for the first known name that a row has."""

    id: str = ""
    text: str = ""
    image: str = ""


class Source(Protocol):
    """Where rows come from. Each iteration reads them again, in the same order."""

    def rows(self) -> Iterator[Row]:
        """The rows, one at a time."""

    def count(self) -> int:
        """How many there are."""


@dataclass(frozen=True)
class RecordReader:
    """Makes rows of records.

    Attributes:
        task: says what a row needs.
        question: stands for the text of rows that have none; empty for none.
        columns: the names that the user gave.
        root: the folder that paths are relative to and must lie in; None where there are no files.
    """

    task: Task
    question: str
    columns: Columns
    root: Path | None

    def row(self, record: Mapping[str, Any]) -> Row:
        """The row of a record; its `problem` says what is wrong with it."""
        text = _first(record, (self.columns.text,) if self.columns.text else self.task.texts)
        value = None
        if self.task.image is not False:
            value = _first(record, (self.columns.image,) if self.columns.image else IMAGES)
        file_name = _path_in(value if value is not None else _first(record, IMAGES))
        content = _content_in(value)
        words = str(text) if text is not None else ""
        given = _first(record, (self.columns.id,) if self.columns.id else IDS)
        row_id = str(given) if given not in (None, "") else file_name or content_id(words, content)
        try:
            if self.columns.id and given in (None, ""):
                raise ValueError(f"{self.columns.id} must hold an id, got none; add it to the row")
            image = content if content is not None else self._file(file_name if value is not None else "")
            self._check(text, image)
        except ValueError as error:
            return Row(row_id, words, None, file_name, str(error))
        return Row(row_id, words if words.strip() else self.question, image, file_name)

    def _check(self, text: object, image: Path | bytes | np.ndarray | None) -> None:
        if self.task.image and image is None:
            names = self.columns.image or " or ".join(IMAGES[:2])
            raise ValueError(f"{names} must hold an image, got none; add it to the row")
        if not self.task.texts:
            return
        names = self.columns.text or " or ".join(self.task.texts)
        if not isinstance(text, (str, int, float, type(None))):
            raise ValueError(f"{names} must hold one text, got {shown(text)}; make a row of each text")
        words = "" if text is None else str(text)
        if not words.strip() and not self.question:
            raise ValueError(f"{names} must hold text, got {shown(words)}; write it into the row")
        if _SURROGATES.search(words):  # which no tokenizer takes
            raise ValueError(f"{names} must hold Unicode text, got {shown(words)}; correct its characters")

    def _file(self, name: str) -> Path | None:
        """The file of this path, which must lie in the root."""
        if not name:
            return None
        if self.root is None:
            raise ValueError(f"image must hold the content of a file, got the path {name!r}; read the file")
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
            inside = False
        else:
            file = self.root / name.replace("\\", "/")
            try:
                inside = file.resolve().is_relative_to(self.root)
            except (OSError, RuntimeError, ValueError) as error:  # such as a link to itself, or a zero byte
                raise ValueError(f"image must be readable, got {name!r}: {error}; replace it") from error
        if not inside:
            raise ValueError(
                f"image must lie in {self.root}, got {name!r}; move it there, or name another --image-folder"
            )
        return file


def broken_file(name: str, error: Exception) -> Row:
    """Stands for the rows of a file that cannot be read from some place on."""
    return Row(
        name, problem=f"file must be complete, got: {error}; replace it, as its other rows are missing"
    )


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first value that is there."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def _content_in(value: Any) -> bytes | np.ndarray | None:
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, np.ndarray):  # as ray.data.read_images gives them
        return value
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else None


def _path_in(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("path")
    return value if isinstance(value, str) else ""
