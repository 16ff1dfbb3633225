"""Rows of a folder of images; the text of `name.png` is in `name.txt` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...captioning.find import find_images
from ...processing.folder_files import read_caption
from ..rows import Row
from .records import RecordReader


class ImageFolder:
    """Images in a folder and its subfolders; the id of one is its path in the folder."""

    def __init__(self, folder: Path, reader: RecordReader) -> None:
        self.folder, self._reader = folder.resolve(), reader
        self.images = find_images(self.folder, subfolders=True).images

    def rows(self) -> Iterator[Row]:
        """The rows, sorted by path."""
        for image in self.images:
            record = {"id": image, "image": image}
            try:
                if self._reader.task.texts and not self._reader.question:
                    record[self._reader.columns.text or self._reader.task.texts[0]] = self._text(image)
            except (OSError, ValueError) as error:
                yield Row(image, file_name=image, problem=str(error))
            else:
                yield self._reader.row(record)

    def count(self) -> int:
        """The number of images."""
        return len(self.images)

    def _text(self, image: str) -> str:
        file = (self.folder / image).with_suffix(".txt")
        if not file.resolve().is_relative_to(self.folder):
            raise ValueError(f"{file.name} must lie in the folder, got a link that leads out; copy it there")
        return read_caption(file) if file.is_file() else ""
