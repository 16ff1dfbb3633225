"""Answers that have to be JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_BRACKET = re.compile(r"[{}\[\]]")


def json_text(answer: str) -> str:
    """The JSON that an answer holds, on one line; a `Check` for `JanusPipeline.understand` and `chat`.

    Raises:
        ValueError: as `parse_json`.
    """
    return json.dumps(parse_json(answer), ensure_ascii=False)


def parse_json(answer: str) -> Any:
    """The JSON value that an answer holds.

    That is the whole answer, or else what stands in its first code fence, or else the first object or array
    in it, whatever words are around it. What lies inside of broken JSON does not count: it is a fragment.

    Args:
        answer: what a model wrote.

    Raises:
        ValueError: if it holds none; the message shows the answer.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
    for text in (answer.strip(), *(fence.strip() for fence in _FENCE.findall(answer)[:1])):
        try:
            return decoder.decode(text)
        except (ValueError, RecursionError):
            continue  # it may stand elsewhere
    try:
        return _first_in(answer, decoder)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"answer must hold JSON, got {answer!r}; say in the question which fields you want, allow more "
            "tokens, or use a larger model"
        ) from error


def _first_in(answer: str, decoder: json.JSONDecoder) -> Any:
    """The first whole object or array."""
    opening = _OPENING.search(answer)
    while opening is not None:
        try:
            return decoder.raw_decode(answer, opening.start())[0]
        except json.JSONDecodeError:
            # On behind what it opened: no fragments of it, and no work done twice.
            opening = _OPENING.search(answer, _end_of(answer, opening.start()))
    raise ValueError("no object or array")


def _end_of(answer: str, start: int) -> int:
    """Where what a bracket opens is closed again; the end of the answer if it never is."""
    depth = 0
    for bracket in _BRACKET.finditer(answer, start):
        depth += 1 if bracket.group() in "{[" else -1
        if depth == 0:
            return bracket.end()
    return len(answer)


def _finite(digits: str) -> float:
    """Python reads 1e999 as Infinity."""
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    """Python reads NaN and Infinity, which no other reader takes for JSON."""
    raise ValueError(f"{constant} is no JSON")
