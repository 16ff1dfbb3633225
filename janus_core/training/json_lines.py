"""Reads files with one JSON text per line, which a user may have written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..file_io import read_text
from .problems import Problems

_Parsed = TypeVar("_Parsed")


def read_json_lines(file: Path, parse: Callable[[str, str], _Parsed], problems: Problems) -> list[_Parsed]:
    """Parses all lines of a file that are not blank; an empty list if there is no such file.

    Args:
        file: the file.
        parse: makes a value of the place of a line, such as "a.jsonl, line 3", and the line.
        problems: collects an error for each line that `parse` refuses.
    """
    parsed: list[_Parsed] = []
    if not file.is_file():
        return parsed
    # Not `splitlines`, which would also split at separators that JSON allows within a text.
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if line.strip():
            with problems.collected():
                parsed.append(parse(f"{file}, line {number}", line))
    return parsed
