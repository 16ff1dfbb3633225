"""Checks shared by the config dataclasses."""

from __future__ import annotations

from inspect import formatannotation
from typing import Any, get_type_hints

# Value types that each declared type of a field accepts; exact, since a bool is also an int to `isinstance`.
_ACCEPTED = {int: (int,), float: (int, float), bool: (bool,), tuple[int, ...]: (int,)}


def require(condition: bool, message: str) -> None:
    """Rejects a config.

    Raises:
        ValueError: with `message`, if the condition is false.
    """
    if not condition:
        raise ValueError(
            f"{message}; the config.json does not describe a Janus model that this version can build"
        )


def require_equal(name: str, value: object, source: str, expected: object) -> None:
    """Rejects a config whose `value`, called `name`, differs from the size that `source` gives."""
    require(value == expected, f"{name} must be {source} {expected}, got {value}")


def check_positive(config: object) -> None:
    """Rejects a config with a field of the wrong type, or with a number that is not positive.

    Raises:
        ValueError: naming the first such field.
    """
    for field, declared in field_types(type(config)).items():
        name, value = f"{type(config).__name__}.{field}", getattr(config, field)
        numbers = value if isinstance(value, tuple) else (value,)
        if declared in _ACCEPTED:
            has_type = all(type(number) in _ACCEPTED[declared] for number in numbers)
            require(has_type, f"{name} must be {formatannotation(declared)}, got {value!r}")
        for number in numbers:
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                require(number > 0, f"{name} must be positive, got {value}")


def field_types(cls: type) -> dict[str, Any]:
    """Declared types of a dataclass's fields by name, resolved from the text of their annotations."""
    return get_type_hints(cls)
