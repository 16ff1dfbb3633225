"""Checks shared by the config dataclasses."""

from __future__ import annotations

from inspect import formatannotation
from typing import get_type_hints

# Value types that each declared type of a field accepts; exact, since a bool is also an int to `isinstance`.
_ACCEPTED = {int: (int,), float: (int, float), bool: (bool,), tuple[int, ...]: (int,)}


def require(condition: bool, message: str) -> None:
    """Raises ValueError with `message` if the condition is false."""
    if not condition:
        raise ValueError(
            f"{message}; the config.json does not describe a Janus model that this version can build"
        )


def require_equal(name: str, value: object, source: str, expected: object) -> None:
    """Rejects a config whose `value`, called `name`, differs from the size that `source` gives."""
    require(value == expected, f"{name} must be {source} {expected}, got {value}")


def require_multiple(name: str, value: int, factor: int, rule: str) -> None:
    """Rejects a config whose `value`, called `name`, is no multiple of `factor`; `rule` says of what."""
    require(value % factor == 0, f"{name} must be a multiple of {rule}, got {value}")


def check_positive(config: object) -> None:
    """Raises ValueError for the first field of the wrong type, or with a number that is not positive."""
    for field, declared in get_type_hints(type(config)).items():
        name, value = f"{type(config).__name__}.{field}", getattr(config, field)
        numbers = value if isinstance(value, tuple) else (value,)
        if declared in _ACCEPTED:
            has_type = all(type(number) in _ACCEPTED[declared] for number in numbers)
            require(has_type, f"{name} must be {formatannotation(declared)}, got {value!r}")
        for number in numbers:
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                require(number > 0, f"{name} must be positive, got {value}")
