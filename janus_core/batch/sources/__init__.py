"""Sources of rows: folders of images, JSONL files, parquet files and WebDataset tars."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ...arguments import listed
from ...captioning.files import JsonLines as CaptionLines
from ...captioning.find import find_images
from ..extras import require
from ..tasks import Task
from .images import ImageFolder
from .jsonl import JsonLines
from .parquet import ParquetFiles
from .records import Columns, RecordReader, Source
from .tar import WebDataset

# By the ending of files: a function of the files, the source's folder, the reader of records, and whether
# paths of images are relative to the files.
_FILES: dict[str, Callable[[Sequence[Path], Path, RecordReader, bool], Source]] = {
    "jsonl": JsonLines,
    "parquet": lambda files, folder, reader, by_file: ParquetFiles(files, folder, reader),
    "tar": lambda files, folder, reader, by_file: WebDataset(files, folder, reader),
}
SOURCES = ("images", *_FILES)
# Files that a run writes, see `sinks.parts`.
_PART = re.compile(r"(part|failed)-\d{8}-[0-9a-f]{16}\.\w+")
METADATA = "metadata"  # the lines that *Janus Caption Folder* writes beside images


def open_source(
    path: Path,
    task: Task,
    question: str = "",
    kind: str | None = None,
    columns: Columns | None = None,
    image_folder: Path | None = None,
    output: Path | None = None,
) -> Source:
    """Opens a source, and checks that all of it can be read.

    Args:
        path: a file, or a folder of images or of such files.
        task: what the rows are for.
        question: stands for the text of rows that have none.
        kind: one of `SOURCES`; by default, what the path holds.
        columns: names of columns.
        image_folder: what paths of images are relative to and must lie in; the source's folder by default.
        output: a folder whose parts are not read, since this run writes them.

    Raises:
        FileNotFoundError: if the source does not exist or is empty.
        ValueError: if it cannot be read, or is of no known kind.
        ImportError: if a package is missing.
    """
    if not path.exists():
        raise FileNotFoundError(f"source must exist, got {path}; correct its name")
    if image_folder is not None and not image_folder.is_dir():
        raise FileNotFoundError(f"image_folder must be a folder, got {image_folder}; correct its name")
    folder = path if path.is_dir() else path.parent
    root = (image_folder or folder).resolve()
    reader = RecordReader(task, question, columns or Columns(), root)
    try:
        kind = kind or _kind(path, task, output)
        if kind == "images":
            return ImageFolder(path, reader)
        if kind == "parquet":
            require("pyarrow", "parquet files")
        if kind == METADATA:
            return JsonLines([path / CaptionLines.NAME], folder, reader)
        files = [path] if path.is_file() else _files(path, kind, output)
        if not files:
            raise FileNotFoundError(f"source must hold .{kind} files, got none in {path}; correct its name")
        return _FILES[kind](files, folder, reader, image_folder is None)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"source must be readable, got {error}; change its permissions") from error


def _kind(path: Path, task: Task, output: Path | None) -> str:
    """What a path holds, by the endings of files."""
    if path.is_file():
        kind = path.suffix.lower().removeprefix(".")
        if kind not in _FILES:
            raise ValueError(
                f"source must be a folder, or end in .{' or .'.join(_FILES)}, got {path}; convert it"
            )
        return kind
    files = [file for file in path.iterdir() if file.name[0] != "." and not _is_written(file, output)]
    endings = {file.suffix.lower().removeprefix(".") for file in files}
    kinds = [kind for kind in _FILES if kind in endings]
    if _has_images(path):
        # Other files may be those that a run wrote beside the images.
        return METADATA if task.texts and (path / CaptionLines.NAME).is_file() else "images"
    if len(kinds) > 1:
        raise ValueError(
            f"source must hold files of one kind, got {listed(kinds)} in {path}; name the kind that you want"
        )
    return kinds[0] if kinds else "images"


def _has_images(path: Path) -> bool:
    try:
        return bool(find_images(path).images)
    except FileNotFoundError:
        return False


def _files(folder: Path, kind: str, output: Path | None) -> list[Path]:
    ending = f".{kind}"
    found = (file for file in folder.rglob("*") if file.suffix.lower() == ending)
    # Hidden files are those of other programs, and what a killed run left behind.
    return sorted(
        file
        for file in found
        if not (_is_hidden(file.relative_to(folder)) or _is_written(file, output)) and file.is_file()
    )


def _is_written(file: Path, output: Path | None) -> bool:
    return file.parent == output and _PART.fullmatch(file.name) is not None


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
