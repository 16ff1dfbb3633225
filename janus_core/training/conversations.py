"""Reads `conversations.jsonl`: conversations about the images of a folder, one per line."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .json_lines import read_json_lines
from .problems import Problems

CONVERSATIONS = "conversations.jsonl"

Turns = tuple[tuple[str, str], ...]


def read_conversations(
    folder: Path, images: Collection[Path], problems: Problems
) -> list[tuple[Path | None, Turns]]:
    """Reads the conversations of a folder; an empty list if it has no file of them.

    Args:
        folder: the folder.
        images: its images.
        problems: collects an error for each invalid line.

    Returns:
        For each line, its image or None, and its turns.
    """
    return read_json_lines(
        folder / CONVERSATIONS, lambda place, line: _parse_line(place, line, folder, images), problems
    )


def _parse_line(place: str, line: str, folder: Path, images: Collection[Path]) -> tuple[Path | None, Turns]:
    try:
        entry: dict[str, Any] = json.loads(line)
        name = entry.get("image")
        if not isinstance(name, str | None):
            raise TypeError("the image must be a file name")
        turns = _parse_turns(entry["turns"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f'{place} must be {{"image": …, "turns": [["question", "answer"], …]}}, got {line[:80]!r} '
            f"({error}); fix the line"
        ) from error
    image = None if name is None else folder / name
    if image is not None and image not in images:
        raise FileNotFoundError(f"{place} must name an image in {folder}, got {name!r}; fix the line")
    return image, turns


def _parse_turns(turns: object) -> Turns:
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns must be a list that is not empty")
    for turn in turns:
        if not isinstance(turn, list) or len(turn) != 2:
            raise ValueError("each turn must be a list of a question and an answer")
        if not all(isinstance(text, str) and text.strip() for text in turn):
            raise ValueError("questions and answers must be texts that are not empty")
    return tuple((question, answer) for question, answer in turns)
