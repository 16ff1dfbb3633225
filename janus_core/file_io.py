"""The small JSON files of a checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} must hold {path.name}, got none; download the whole checkpoint folder"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON, got: {error}; download it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(content).__name__}; download it again")
    return content


def read_json_if_present(path: Path) -> dict[str, Any]:
    """The JSON object in a file, or an empty one where there is no such file."""
    return read_json(path) if path.is_file() else {}
