"""Output as the files of a training folder: captions beside images, and pictures with their prompts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...captioning.files import TextFiles
from ...file_io import write_atomically
from ..rows import Result, digest
from .jsonl import JSONL
from .parts import Parts

_UNSAFE = re.compile(r"[^\w -]+")
_NAME_LENGTH = 50  # characters of at most 4 bytes; file systems allow 255 bytes


class TextsBeside:
    """A `name.txt` for each `name.png`; rows that failed are in `failed-….jsonl`."""

    def __init__(self, folder: Path, images: Sequence[str], columns: dict[str, str]) -> None:
        self._folder, self._images = folder, images
        self._texts = TextFiles(folder, images)
        self._failed = Parts(folder, JSONL, columns, prefix="failed")

    def done(self) -> set[bytes]:
        """Digests of the ids of images that have a caption, or failed."""
        return self._failed.done() | {digest(image) for image in self._images if self._texts.has(image)}

    def write(self, number: int, results: Sequence[Result]) -> None:
        """Writes captions; those that cannot be written are failures."""
        texts = {result["id"]: result["text"] for result in results if not result.get("error")}
        for image in texts:
            (self._folder / image).parent.mkdir(parents=True, exist_ok=True)
        unwritten = self._texts.write(texts)
        failed = [
            {"id": result["id"], "error": error}
            for result in results
            if (error := unwritten.get(result["id"]) or result.get("error"))
        ]
        if failed:
            self._failed.write(number, failed)

    def drop_failed(self) -> int:
        """Removes the failures."""
        return self._failed.drop_failed()

    def refused(self, row_id: str) -> str:
        """Why an image cannot have a caption: it would share the file of another."""
        return self._texts.refused.get(row_id, "")


class Pictures:
    """A `name.png` with a `name.txt` for each drawing; `part-….jsonl` says which are complete."""

    def __init__(self, folder: Path, columns: dict[str, str]) -> None:
        self._folder, self._parts = folder, Parts(folder, JSONL, columns)

    def done(self) -> set[bytes]:
        """Digests of the ids of all drawings, and of rows that failed."""
        return self._parts.done()

    def write(self, number: int, results: Sequence[Result]) -> None:
        """Writes drawings, and then the part that names them."""
        lines = []
        for result in results:
            entry = {name: value for name, value in result.items() if name != "image"}
            if result.get("image"):
                entry["file_name"] = picture_name(result["id"])
                picture = self._folder / entry["file_name"]
                write_atomically(picture, result["image"])
                write_atomically(picture.with_suffix(".txt"), f"{result['text']}\n".encode())
            lines.append(entry)
        self._parts.write(number, lines)

    def drop_failed(self) -> int:
        """Removes the rows that failed."""
        return self._parts.drop_failed()

    def refused(self, row_id: str) -> str:
        """Any row can be written."""
        return ""


def picture_name(row_id: str) -> str:
    """The file name of a drawing: its id if safe and in lower case, else a safe form of it and a hash."""
    stem = PurePosixPath(row_id).stem if PurePosixPath(row_id).suffix else row_id
    name = _UNSAFE.sub("_", stem)[:_NAME_LENGTH].strip(" _-")
    # Two ids must not share a name, also where file systems ignore case and forms of Unicode.
    if name != unicodedata.normalize("NFC", row_id).casefold() or not name:
        name = f"{name}-{digest(row_id).hex()[:16]}".lstrip("-")
    return f"{name}.png"
