"""Parts as parquet files; images are PNG bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..rows import Result
from .parts import PartForm


def schema(columns: dict[str, str]) -> Any:
    """The schema of PyArrow for columns of a task, with id and error."""
    import pyarrow

    names = {"id": "string", **columns, "error": "string"}
    types = {"list<int32>": pyarrow.list_(pyarrow.int32())}
    return pyarrow.schema(
        [(name, types.get(kind) or pyarrow.type_for_alias(kind)) for name, kind in names.items()]
    )


def _write(path: Path, results: Sequence[Result], columns: dict[str, str]) -> None:
    import pyarrow
    import pyarrow.parquet

    complete = [
        {name: _unicode(value) for name, value in result.items()}
        | {"error": _unicode(result.get("error") or None)}
        for result in results
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(complete, schema(columns)), path)


def _unicode(value: Any) -> Any:
    """Bytes of file names that are not UTF-8 as escapes, which `digest` does not tell from them."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _read(path: Path) -> list[Result]:
    import pyarrow.parquet

    rows: list[Result] = pyarrow.parquet.read_table(path, partitioning=None).to_pylist()
    return rows


def _ids(path: Path) -> Iterator[tuple[str, bool]]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=["id", "error"], partitioning=None)
    yield from ((row["id"], bool(row["error"])) for row in table.to_pylist())


PARQUET = PartForm(".parquet", _write, _read, _ids)
