"""A job: a source, what to do with its rows, and an output; and the parts that are left to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from uuid import uuid4

from ..arguments import checked_path, shown
from ..file_io import read_json_if_present, write_atomically
from .options import BatchOptions
from .rows import Row, digest, with_unique_ids
from .sinks import Sink, open_sink
from .sources import Source, open_source
from .sources.records import Columns

SETTINGS = "batch.json"


@dataclass(frozen=True)
class Part:
    """Rows that are computed and written together.

    Attributes:
        number: of the part in the source.
        rows: those of its rows that are not in the output yet.
    """

    number: int
    rows: list[Row]


@dataclass(frozen=True)
class Job:
    """What a command does. It holds only names, so that any worker can open it.

    Attributes:
        source: a file or folder.
        output: a folder.
        options: what to do with each row.
        format: of the output, one of the task's; None for its first.
        kind: of the source; None for what it holds.
        columns: names of columns of the source.
        image_folder: what paths of images are relative to; None for the source's folder.
    """

    source: Path
    output: Path
    options: BatchOptions
    format: str | None = None
    kind: str | None = None
    columns: Columns = field(default_factory=Columns)
    image_folder: Path | None = None

    def __post_init__(self) -> None:
        for name in ("source", "output"):
            object.__setattr__(self, name, checked_path(name, getattr(self, name)).resolve())

    @property
    def format_name(self) -> str:
        """The format of the output."""
        return self.format or self.options.of_task.formats[0]

    def open_source(self) -> Source:
        """Opens the source, which checks it."""
        options = self.options
        question = options.question if options.of_task.own_question else ""
        return open_source(
            self.source, options.of_task, question, self.kind, self.columns, self.image_folder, self.output
        )

    def open_sink(self, source: Source | None = None) -> Sink:
        """Opens the output."""
        return open_sink(self.output, self.format_name, self.options.of_task, source)

    def prepare(self) -> tuple[Source, Sink]:
        """Checks everything that can be checked without a model, and makes the output's folder.

        Raises:
            OSError, ValueError, ImportError: a sentence that says what is wrong.
        """
        source = self.open_source()
        if self.format_name == "png" and self.source.is_dir() and self.output.is_relative_to(self.source):
            raise ValueError(
                f"output must lie outside of {self.source}, whose images are read, got {self.output}; choose "
                "another folder"
            )
        sink = self.open_sink(source)
        self.options.check_checkpoint()
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            # The first thing that is written, also to learn whether that is allowed.
            self._keep_settings()
        except OSError as error:
            raise ValueError(f"output must be writable, got: {error}; choose another folder") from error
        return source, sink

    def count(self, source: Source) -> int:
        """The number of rows.

        Raises:
            ValueError: if there are none.
        """
        count = source.count()
        if not count:
            raise ValueError(
                f"source must hold rows, got none in {self.source}; name a file or folder with rows"
            )
        return count

    def parts(
        self,
        source: Source,
        done: Collection[bytes],
        refused: Callable[[str], str] = lambda row_id: "",
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Part]:
        """The parts with rows that are left to do.

        Args:
            source: the opened source.
            done: digests of the ids in the output.
            refused: why the row of an id cannot be written; empty if it can.
            share: (i, n) for the parts i, i + n, i + 2 n, … only.
        """
        index, count = share
        size = self.options.part_size
        numbered = enumerate(with_unique_ids(source.rows()))
        for number, group in groupby(numbered, key=lambda each: each[0] // size):
            if number % count == index:
                rows = [row for _, row in group if digest(row.id) not in done]
                if rows:
                    yield Part(number, [replace(row, problem=row.problem or refused(row.id)) for row in rows])

    def _keep_settings(self) -> None:
        """Writes the settings, or compares them with those of the run that is continued.

        Raises:
            ValueError: if they differ.
        """
        columns = {f"{name}_column": value for name, value in asdict(self.columns).items()}
        # Of the source, only the name: machines may have it in different places.
        settings = {
            "source": self.source.name,
            **columns,
            **self.options.settings(),
            "format": self.format_name,
        }
        # A name of its own: several machines may start at once.
        draft = self.output / f".{uuid4().hex}-{SETTINGS}"
        if self.format_name == "txt":  # a folder of images, which may have captions from elsewhere
            write_atomically(draft, b"")
            draft.unlink()
            return
        file = self.output / SETTINGS
        earlier = read_json_if_present(file)
        different = [name for name, value in settings.items() if name in earlier and earlier[name] != value]
        if different:
            name = different[0]
            raise ValueError(
                f"{name} must be that of the run in {self.output}, {shown(earlier[name])}, got "
                f"{shown(settings[name])}; choose another output, or give the same options"
            )
        write_atomically(draft, f"{json.dumps(settings, indent=1)}\n".encode())
        draft.replace(file)
