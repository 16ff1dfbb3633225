"""Parameters of tests that run in the fast suite, and the rest of them as slow ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(values: Iterable[Any], *fast: Any) -> list[Any]:
    """Returns the values as parameters of a test; all but the `fast` ones are marked slow.

    A value is a tuple where a test has several parameters.
    """
    values = list(values)
    unknown = [value for value in fast if value not in values]
    if unknown:
        raise ValueError(f"fast must be some of the values, got {unknown}; correct the list")
    return [
        value if value in fast else pytest.param(*_as_tuple(value), marks=pytest.mark.slow)
        for value in values
    ]


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
