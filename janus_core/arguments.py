"""Validates arguments that are texts, paths or integers, and formats values and names for messages."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence, Sized
from pathlib import Path

_SHOWN_LENGTH = 80  # characters of a value in an error message


def shown(value: object) -> str:
    """Formats any value for an error message: short, with unprintable characters escaped."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        text = repr(value)
        return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"
    name = type(value).__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{name} of shape {list(value.shape)} and {value.dtype}"
    return f"{name} of {len(value)}" if isinstance(value, Sized) else name


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Joins names for a message: the first ones, and the number of the others."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def checked_text(name: str, text: object, fix: str, *, may_be_blank: bool = False) -> str:
    """Returns a text; raises ValueError if it is not a str, is blank, or cannot be tokenized.

    Args:
        name: of the argument, for the error.
        text: the argument.
        fix: advice in the error, unless the problem is a single character.
        may_be_blank: whether empty text and white space are allowed.
    """
    if not isinstance(text, str) or not (may_be_blank or text.strip()):
        rule = "be text" if may_be_blank else "hold text"
        raise ValueError(f"{name} must {rule}, got {shown(text)}; {fix}")
    for index, character in enumerate(text):
        # Half a pair of surrogates, from a cut or wrongly decoded text, has no UTF-8 form; neither it nor NUL
        # means anything to a model.
        if character == "\0" or "\ud800" <= character <= "\udfff":
            raise ValueError(
                f"{name} must hold only characters of Unicode text, got {character!r} at position {index}; "
                "remove it"
            )
    return text


def checked_texts(name: str, texts: object, fix: str) -> list[str]:
    """Returns one text or several as a list; raises ValueError for an entry that `checked_text` refuses."""
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, Sequence) or isinstance(texts, (bytes, bytearray)):
        raise ValueError(f"{name} must hold text, got {shown(texts)}; {fix}")
    if not texts:
        raise ValueError(f"{name} must be a text or a list of at least one, got an empty list; {fix}")
    return [checked_text(name, text, fix) for text in texts]


def checked_path(name: str, path: object) -> Path:
    """Returns a path, given as str or Path; raises ValueError for anything else, or if it is empty."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(f"{name} must be a path, got {shown(path)}; give a str or a pathlib.Path")
    return Path(text)


def checked_whole(name: str, value: object, fix: str = "round it, or convert it with int") -> int:
    """Returns an integer, also one of numpy's, as int; raises ValueError for anything else."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # type: ignore[arg-type]  # other types raise TypeError
    except TypeError as error:
        raise ValueError(f"{name} must be a whole number, got {shown(value)}; {fix}") from error
