"""Outputs: parts as JSONL, parquet or tar, and the files of a training folder."""

from __future__ import annotations

from pathlib import Path

from ..extras import require
from ..sources import Source
from ..sources.images import ImageFolder
from ..tasks import Task
from .files import Pictures, TextsBeside
from .jsonl import JSONL
from .parquet import PARQUET
from .parts import Parts, Sink
from .tar import TAR

_PARTS = {"jsonl": JSONL, "parquet": PARQUET, "tar": TAR}
FORMATS = (*_PARTS, "txt", "png")


def open_sink(folder: Path, name: str, task: Task, source: Source | None = None) -> Sink:
    """Opens an output, one of `FORMATS`, in a folder that exists; only `txt` asks for the source.

    Raises:
        ValueError: if the task or the source does not have this output.
        ImportError: if a package is missing.
    """
    if name not in task.formats:
        raise ValueError(
            f"format must be one of {', '.join(task.formats)} for this task, got {name!r}; choose one of them"
        )
    if name == "parquet":
        require("pyarrow", "parquet files")
    if name == "txt":
        if not isinstance(source, ImageFolder):
            raise ValueError(
                "format must be jsonl or parquet for rows that are not a local folder of images, got 'txt'; "
                "choose one of these"
            )
        return TextsBeside(folder, source.images, task.columns)
    return Pictures(folder, task.columns) if name == "png" else Parts(folder, _PARTS[name], task.columns)
