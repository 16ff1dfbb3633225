"""Rows of batch work: their ids, and the random stream of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

Result = dict[str, Any]
"""A row of the output, by column; `error` is empty if it was computed."""


@dataclass(frozen=True)
class Row:
    """One row of a source.

    Attributes:
        id: what names it in the output.
        text: a question, a prompt or a description; empty for none.
        image: a file, the content of one, or its pixels [H, W, C] uint8; None without an image.
        file_name: the path of the image as the source has it; empty for none.
        problem: why it cannot be computed; empty if it can.
    """

    id: str
    text: str = ""
    image: Path | bytes | np.ndarray | None = None
    file_name: str = ""
    problem: str = ""


def content_id(text: str, image: bytes | np.ndarray | None = None) -> str:
    """The id of a row that has neither an id nor a path: a hash of its content, in hexadecimal."""
    # The length keeps text and image apart.
    content = text.encode(errors="surrogatepass")
    pixels = image.tobytes() if isinstance(image, np.ndarray) else image or b""
    parts = (str(len(content)).encode(), content, pixels)
    return blake2b(b"\0".join(parts), digest_size=16).hexdigest()


def digest(row_id: str) -> bytes:
    """What stands for an id in sets of many: 16 bytes."""
    return blake2b(row_id.encode(errors="backslashreplace"), digest_size=16).digest()


def seed_offset(row_id: str) -> int:
    """What is added to the run's seed for a row, so that its random draws depend on nothing but its id.

    It has 32 bits: torch's CPU generator uses no more of a seed, and JSON holds such a number exactly.
    """
    return int.from_bytes(digest(row_id)[:4], "big")


def with_unique_ids(rows: Iterable[Row]) -> Iterator[Row]:
    """Turns the second and later rows of an id into failures, named `id#2`, `id#3` and so on."""
    seen: set[bytes] = set()
    times: dict[bytes, int] = {}  # only of ids that occur again
    for row in rows:
        key = digest(row.id)
        if key in seen:
            times[key] = times.get(key, 1) + 1
            problem = f"id must occur once, got {row.id!r} again; give each row an id of its own"
            row = replace(row, id=f"{row.id}#{times[key]}", text="", image=None, problem=problem)
            key = digest(row.id)
        seen.add(key)
        yield row
