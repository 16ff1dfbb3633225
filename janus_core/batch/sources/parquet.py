"""Rows of parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..rows import Row
from ..tasks import Task
from .records import IDS, IMAGES, Columns, RecordReader, broken_file

ROWS_AT_ONCE = 64  # read together; their images are in memory


class ParquetFiles:
    """Rows of some files, of which only the columns that are needed are read."""

    def __init__(self, files: Sequence[Path], folder: Path, reader: RecordReader) -> None:
        self.files, self._folder, self._reader = files, folder, reader
        for file in files:
            _opened(file).close()

    def rows(self) -> Iterator[Row]:
        """The rows of the first file, then of the next; the last one of a broken file says so."""
        from pyarrow import ArrowException

        for path in self.files:
            with _opened(path) as file:
                names = needed(file.schema_arrow.names, self._reader.task, self._reader.columns)
                try:
                    for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
                        for record in batch.to_pylist():
                            yield self._reader.row(record)
                except (ArrowException, OSError, UnicodeDecodeError) as error:
                    yield broken_file(path.relative_to(self._folder).as_posix(), error)

    def count(self) -> int:
        """The number of rows, from the files' ends."""
        total = 0
        for path in self.files:
            with _opened(path) as file:
                total += file.metadata.num_rows
        return total


def needed(names: Sequence[str], task: Task, columns: Columns) -> list[str]:
    """The columns to read: not tokens of an earlier run, and images only for tasks that see them."""
    wanted = {columns.id, columns.text, columns.image, *IDS, *task.texts, "file_name"}
    if task.image is not False:
        wanted |= {*IMAGES}
    return [name for name in names if name in wanted]


def _opened(path: Path) -> Any:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path, memory_map=False, pre_buffer=False)
    except (ArrowException, OSError) as error:
        raise ValueError(f"source must be readable, got {path}: {error}; fix or remove it") from error
