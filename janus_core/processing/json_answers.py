"""Extraction of JSON from a model's answer."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_BRACKET = re.compile(r"[{}\[\]]")


def json_text(answer: str) -> str:
    """The JSON value in an answer, on one line; use as `check` of `JanusPipeline.understand` and `chat`.

    Raises:
        ValueError: as `parse_json`.
    """
    return json.dumps(parse_json(answer), ensure_ascii=False)


def parse_json(answer: str) -> Any:
    """The JSON value in an answer.

    Tries the whole answer, then the content of its first code fence, then the first object or array in the
    text. Values inside of malformed JSON are ignored, since they are fragments.

    Raises:
        ValueError: if there is no valid JSON; the message shows the answer.
    """
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
    for text in (answer.strip(), *(fence.strip() for fence in _FENCE.findall(answer)[:1])):
        try:
            return decoder.decode(text)
        except (ValueError, RecursionError):
            continue
    try:
        return _first_value(answer, decoder)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"answer must hold JSON, got {answer!r}; say in the question which fields you want, allow more "
            "tokens, or use a larger model"
        ) from error


def _first_value(answer: str, decoder: json.JSONDecoder) -> Any:
    """The first valid object or array in a text."""
    opening = _OPENING.search(answer)
    while opening is not None:
        try:
            return decoder.raw_decode(answer, opening.start())[0]
        except json.JSONDecodeError:
            # Skip all that this bracket encloses, which also keeps the search linear in the text's length.
            opening = _OPENING.search(answer, _matching_end(answer, opening.start()))
    raise ValueError("no object or array")


def _matching_end(answer: str, start: int) -> int:
    """The position after the bracket that closes the one at `start`, or the end of the text."""
    depth = 0
    for bracket in _BRACKET.finditer(answer, start):
        depth += 1 if bracket.group() in "{[" else -1
        if depth == 0:
            return bracket.end()
    return len(answer)


def _finite(digits: str) -> float:
    """Parses a float, and refuses those that overflow, such as 1e999: Python would read Infinity."""
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    """Refuses NaN and Infinity: Python's decoder accepts them, but they are not JSON."""
    raise ValueError(f"{constant} is not JSON")
