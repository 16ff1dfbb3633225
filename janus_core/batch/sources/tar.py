"""Rows of WebDataset tars: files of the same name but for their endings are one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...processing.image_files import image_suffixes
from ..rows import Row
from .records import RecordReader, broken_file

_TEXTS = ("txt", "caption")


class WebDataset:
    """Samples of some tars; the id of one is its tar's path and its key."""

    def __init__(self, files: Sequence[Path], folder: Path, reader: RecordReader) -> None:
        self.files, self._folder, self._reader = files, folder, reader
        self._images = frozenset(suffix.removeprefix(".") for suffix in image_suffixes())
        for file in files:
            _opened(file).close()

    def rows(self) -> Iterator[Row]:
        """The rows of the first tar, then of the next; the last one of a broken tar says so."""
        for file in self.files:
            name = file.relative_to(self._folder).as_posix()
            try:
                for key, members in self._samples(file, read=True):
                    yield self._row(f"{name}/{key}", members)
            except (tarfile.TarError, OSError, EOFError) as error:
                yield broken_file(name, error)

    def count(self) -> int:
        """The number of rows."""
        total = 0
        for file in self.files:
            try:
                for _ in self._samples(file, read=False):
                    total += 1
            except (tarfile.TarError, OSError, EOFError):
                total += 1
        return total

    def _row(self, row_id: str, members: dict[str, bytes]) -> Row:
        record: dict[str, Any] = {}
        problem = ""
        for ending, content in members.items():
            if ending == "json":
                try:
                    found = json.loads(content)
                    record |= found if isinstance(found, dict) else {}
                except (ValueError, RecursionError) as error:
                    problem = f"json of the sample must be a JSON object, got: {error}; fix it"
        # What a sample itself holds comes before what its JSON says of it.
        for ending, content in members.items():
            if ending in _TEXTS and self._reader.task.texts:
                name = self._reader.columns.text or self._reader.task.texts[0]
                record[name] = content.decode(errors="replace")
        image = next((content for ending, content in members.items() if ending in self._images), None)
        record[self._reader.columns.image or "image"] = image
        if not self._reader.columns.id:
            record["id"] = row_id
        row = self._reader.row(record)
        return Row(row.id, problem=problem) if problem else row

    def _samples(self, file: Path, read: bool) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Keys of samples, and the content of their files by ending; files of a sample are adjacent."""
        key, members = "", dict[str, bytes]()
        with _opened(file) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, base = member.name.rpartition("/")
                stem, _, ending = base.partition(".")
                if not stem:  # hidden
                    continue
                here = f"{folder}/{stem}" if folder else stem
                if members and here != key:
                    yield key, members
                    members = {}
                key = here
                members[ending.lower()] = self._content(tar, member, ending.lower()) if read else b""
                tar.members = []  # type: ignore[attr-defined]  # which would grow with the file
            _check_end(tar)
        if members:
            yield key, members

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> bytes:
        if ending in self._images and self._reader.task.image is False:
            return b""
        if ending not in self._images and ending not in (*_TEXTS, "json"):
            return b""
        content = tar.extractfile(member)
        assert content is not None  # it is a file
        return content.read()


def _check_end(tar: tarfile.TarFile) -> None:
    """Raises ReadError if something follows the last member: tarfile ends silently at a broken header."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"broken header at byte {tar.offset}")


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"source must be readable, got {path}: {error}; fix or remove it") from error
