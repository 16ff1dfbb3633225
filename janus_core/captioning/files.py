"""Caption files in a folder of images, kept complete even if the process is killed."""

from __future__ import annotations

import codecs
import json
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..file_io import read_text, write_atomically
from ..processing.folder_files import read_caption, visible

_log = logging.getLogger(__name__)


class TextFiles:
    """One `name.txt` beside each `name.png`, the format of most LoRA trainers."""

    def __init__(self, folder: Path, images: Sequence[str]) -> None:
        """Refuses images whose names, relative to the folder, would share a caption file."""
        self.folder = folder
        self.refused: dict[str, str] = {}  # the reason for each image
        sharing: dict[str, list[str]] = {}
        for image in images:
            # File systems of Windows and macOS ignore case.
            sharing.setdefault(str(self._file(image)).casefold(), []).append(image)
        for names in sharing.values():
            if len(names) > 1:
                for image in names:
                    self.refused[image] = (
                        "its name must differ from others in more than its extension, got "
                        f"{', '.join(names)}, which would share {self._file(image).name}; rename them, or "
                        "name all but one in skip"
                    )

    def has(self, image: str) -> bool:
        """Whether an image has a caption; an empty file is none."""
        file = self._file(image)
        try:
            return bool(self.read(image)) if file.is_file() else file.exists()
        except ValueError:
            return True  # unreadable, but it must not be overwritten

    def read(self, image: str) -> str:
        """The caption of an image that has one.

        Raises:
            ValueError: if it cannot be read, such as a text in another encoding than UTF-8.
        """
        file = self._file(image)
        # A link could lead to a text outside of the folder.
        if file.is_symlink():
            raise ValueError(f"{file} must be a file, got a link; replace it with its target")
        return read_caption(file)

    def write(self, captions: Mapping[str, str]) -> dict[str, str]:
        """Writes each caption beside its image; returns the reason for each that cannot be written."""
        failed = {}
        for image, caption in captions.items():
            try:
                write_atomically(self._file(image), f"{caption}\n".encode())
            except (OSError, ValueError) as error:
                failed[image] = _unwritable(self._file(image), error)
        return failed

    def finish(self) -> None:
        """Does nothing: there is no shared file to tidy up."""

    def _file(self, image: str) -> Path:
        return (self.folder / image).with_suffix(".txt")


class JsonLines:
    """Lines `{"file_name": …, "text": …}` of one `metadata.jsonl`, the format of the datasets library.

    New lines are appended. An incomplete last line, left by a killed run, is dropped, so that its image is
    captioned again. If an image has several lines, the last one wins. Other columns of a line are kept.
    A line may name its image with backslashes or `./`.
    """

    NAME = "metadata.jsonl"

    def __init__(self, folder: Path, images: Sequence[str]) -> None:
        """Reads and tidies up an existing file."""
        self.file = folder / self.NAME
        self.refused: dict[str, str] = {}
        self._images = frozenset(images)
        self._tidy_up()

    def has(self, image: str) -> bool:
        """Whether an image has a caption; an empty text is none."""
        return image in self._lines and bool(self.read(image))

    def read(self, image: str) -> str:
        """The caption of an image that has one."""
        text: str = json.loads(self._lines[image])["text"]
        return visible(text)

    def write(self, captions: Mapping[str, str]) -> dict[str, str]:
        """Appends a line for each image; returns the reason for each that cannot be written."""
        lines = b"".join(self._new_line(image, caption) for image, caption in captions.items())
        size = self._size()
        try:
            with self.file.open("ab") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self._size() > size:  # a later line must not continue an incomplete one
                os.truncate(self.file, size)
            return dict.fromkeys(captions, _unwritable(self.file, error))
        return {}

    def finish(self) -> None:
        """Rewrites the file if that is needed to have one line per image."""
        try:
            self._tidy_up()
        except OSError as error:  # all captions are there
            _log.warning(
                "%s keeps earlier lines of its images, as it cannot be rewritten: %s", self.file, error
            )

    def _size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def _new_line(self, image: str, caption: str) -> bytes:
        """The line of an image, with the other columns of the one that it replaces."""
        entry = json.loads(self._lines[image]) if image in self._lines else {"file_name": image}
        entry["text"] = caption
        try:
            return f"{json.dumps(entry, ensure_ascii=False)}\n".encode()
        except UnicodeEncodeError:  # only escapes can write halves of surrogate pairs and bytes of file names
            return f"{json.dumps(entry)}\n".encode()

    def _image_of(self, line: str) -> str | None:
        """The image whose caption a line holds; None if it is not a complete line."""
        name = _file_name_of(line)
        if name is None or name in self._images:
            return name
        path = posixpath.normpath(name.replace("\\", "/"))
        return path if path in self._images else name

    def _tidy_up(self) -> None:
        """Reads the file, and rewrites it if that is needed to have one complete line per image."""
        # Writing through a link could change a file outside of the folder.
        if self.file.is_symlink():
            raise ValueError(f"{self.file} must be a file, got a link; remove it")
        content = self.file.read_bytes() if self.file.exists() else b""
        recoded = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if recoded:  # saved by an editor of Windows; the file is rewritten, so that lines can be appended
            content = read_text(self.file).encode()
        # File names may contain bytes that are not UTF-8.
        *complete, rest = content.decode("utf-8-sig", "surrogateescape").split("\n")
        entries = []
        for number, line in enumerate(complete, start=1):
            if (image := self._image_of(line)) is not None:
                entries.append((image, line))
            elif line.strip():
                raise ValueError(
                    f'{self.file}, line {number} must be {{"file_name": …, "text": …}}, got {line[:80]!r}; '
                    "fix the line, or move the file away"
                )
        # The last line is kept if only its line break is missing.
        if (image := self._image_of(rest)) is not None:
            entries.append((image, rest))
        self._lines = dict(entries)
        if recoded or rest or len(self._lines) < len(entries):
            text = "".join(f"{line}\n" for line in self._lines.values())
            write_atomically(self.file, text.encode(errors="surrogateescape"))


CAPTION_FILES: dict[str, type[TextFiles] | type[JsonLines]] = {"txt": TextFiles, "jsonl": JsonLines}


def _unwritable(file: Path, error: Exception) -> str:
    """The reason why a caption cannot be written."""
    return f"{file} must be writable, got: {error}; free disk space, or move away what is in its place"


def _file_name_of(line: str) -> str | None:
    """The file name in a line; None if it is not a complete line."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return None
    name = entry.get("file_name")
    return name if isinstance(name, str) else None
