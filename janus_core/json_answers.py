"""Answers that have to be JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)


def json_text(answer: str) -> str:
    """The JSON that an answer holds, on one line; a `Check` for `JanusPipeline.understand` and `chat`.

    Raises:
        ValueError: as `parse_json`.
    """
    return json.dumps(parse_json(answer), ensure_ascii=False)


def parse_json(answer: str) -> Any:
    """The JSON value that an answer holds.

    That is the whole answer, or else what stands in its first code fence, or else the first object or array
    in it, whatever words are around it.

    Args:
        answer: what a model wrote.

    Raises:
        ValueError: if it holds none; the message shows the answer.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse)
    fences = [fence.strip() for fence in _FENCE.findall(answer)]
    for text in (answer.strip(), *fences[:1]):
        try:
            return decoder.decode(text)
        except (ValueError, RecursionError):
            continue  # the next place may hold it
    for start in re.finditer(r"[{\[]", answer):
        try:
            return decoder.raw_decode(answer, start.start())[0]
        except (ValueError, RecursionError):
            continue
    raise ValueError(
        f"answer must hold JSON, got {answer!r}; say in the question which fields you want, allow more "
        "tokens, or use a larger model"
    )


def _refuse(constant: str) -> None:
    """Python reads NaN and Infinity, which no other reader takes for JSON."""
    raise ValueError(f"{constant} is no JSON")
