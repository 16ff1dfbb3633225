"""Text and JSON files, and atomic writes."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Windows editors write these marks. Longer ones come first: UTF-32's begins with UTF-16's.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """Reads a text file that a user may have edited; all line ends become newlines.

    The encoding is that of the byte-order mark; UTF-8 without one.

    Raises:
        ValueError: if the file is not in that encoding.
    """
    content = path.read_bytes()
    encodings = (name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark))
    encoding = next(encodings, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be a text file in UTF-8, got bytes that are not {encoding.upper()} at position "
            f"{error.start}; save it again as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} must hold {path.name}, got none; download the whole checkpoint folder"
        )
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON, got: {error}; download it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(content).__name__}; download it again")
    return content


def read_json_if_present(path: Path) -> dict[str, Any]:
    """Like `read_json`, but a missing file is an empty object."""
    return read_json(path) if path.is_file() else {}


def write_atomically(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Writes a file that is either complete or absent, even if the process is killed halfway.

    The content goes to a hidden temporary file beside it, which is then renamed. After an error that file is
    removed. A killed process leaves it behind, and the next write of the same path replaces it. The content
    may be a function that writes to the path that it is given.
    """
    # The digest keeps names unique once they are cut to what file systems allow.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    partial = path.with_name(f".{path.name[:40]}-{digest}.partial")
    # A leftover may be a link, which would redirect the write out of the folder.
    partial.unlink(missing_ok=True)
    try:
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            content(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())  # the content must reach the disk before its final name does
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says what is wrong
            partial.unlink(missing_ok=True)
        raise
