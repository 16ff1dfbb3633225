"""Where the captions of a folder lie, written so that a killed run leaves nothing half-done behind."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..file_io import write_atomically


class TextFiles:
    """`name.txt` beside `name.png`: what trainers of LoRAs read."""

    def __init__(self, folder: Path, images: Sequence[str]) -> None:
        """Looks at what is there.

        Args:
            folder: where the images lie.
            images: their names, relative to the folder.
        """
        self.folder = folder
        sharing: dict[str, list[str]] = {}
        for image in images:
            # Upper and lower case are one on the disks of Windows and macOS.
            sharing.setdefault(str(self._file(image)).casefold(), []).append(image)
        self.refused = {
            image: f"its name must differ from others in more than its ending, got {', '.join(names)}, which "
            f"would share {self._file(image).name}; rename them"
            for names in sharing.values()
            for image in names
            if len(names) > 1
        }

    def has(self, image: str) -> bool:
        """Whether an image has a caption."""
        return self._file(image).exists()

    def write(self, captions: Mapping[str, str]) -> None:
        """Puts captions beside their images, each at once."""
        for image, caption in captions.items():
            write_atomically(self._file(image), f"{caption}\n".encode())

    def finish(self) -> None:
        """There is nothing to put in order."""

    def _file(self, image: str) -> Path:
        return (self.folder / image).with_suffix(".txt")


class JsonLines:
    """Lines `{"file_name": …, "text": …}` of one `metadata.jsonl`: what the datasets library reads.

    A line is added behind the others. One that a killed run left torn is dropped, and its image done again;
    of several lines for one image the last counts.
    """

    NAME = "metadata.jsonl"

    def __init__(self, folder: Path, images: Sequence[str]) -> None:
        """Reads what is there, and puts it in order.

        Raises:
            ValueError: if the file is a link, or a line of it is something else.
        """
        self.file = folder / self.NAME
        self.refused: dict[str, str] = {}
        self.finish()

    def has(self, image: str) -> bool:
        """Whether an image has a caption."""
        return image in self._lines

    def write(self, captions: Mapping[str, str]) -> None:
        """Adds a line for each image."""
        lines = [
            json.dumps({"file_name": image, "text": caption}, ensure_ascii=False)
            for image, caption in captions.items()
        ]
        with self.file.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode(errors="surrogateescape"))
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Leaves one whole line for each image."""
        # A link could lead a writer out of the folder.
        if self.file.is_symlink():
            raise ValueError(f"{self.file} must be a file, got a link; remove it")
        content = self.file.read_bytes() if self.file.exists() else b""
        # Names of files may hold bytes that are no UTF-8.
        *whole, rest = content.decode("utf-8-sig", "surrogateescape").split("\n")
        entries = [
            (self._image(number, line), line) for number, line in enumerate(whole, start=1) if line.strip()
        ]
        if rest and _image_of(rest) is not None:
            entries.append((str(_image_of(rest)), rest))
        self._lines = dict(entries)
        if rest or len(self._lines) < len(entries):
            text = "".join(f"{line}\n" for line in self._lines.values())
            write_atomically(self.file, text.encode(errors="surrogateescape"))

    def _image(self, number: int, line: str) -> str:
        image = _image_of(line)
        if image is None:
            raise ValueError(
                f'{self.file}, line {number} must be {{"file_name": …, "text": …}}, got {line[:80]!r}; mend '
                "the line, or move the file away"
            )
        return image


CAPTION_FILES: dict[str, type[TextFiles] | type[JsonLines]] = {"txt": TextFiles, "jsonl": JsonLines}


def _image_of(line: str) -> str | None:
    """The image that a line is about; None if it is no whole line."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return None
    name = entry.get("file_name")
    return name if isinstance(name, str) else None
