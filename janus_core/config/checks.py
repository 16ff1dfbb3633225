"""Checks shared by the config dataclasses and the readers of config.json."""

from __future__ import annotations

from inspect import formatannotation
from typing import Any, get_args, get_type_hints

# Value types that each declared type of a field accepts; exact, since a bool is also an int to `isinstance`.
_ACCEPTED: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}
# Larger sizes overflow the arithmetic of tensor shapes. Not a number is not below it either.
_LIMIT = 2**31


def require(condition: bool, message: str) -> None:
    """Raises ValueError with `message` if the condition is false."""
    if not condition:
        raise ValueError(f"{message}; the config.json does not describe a model that this version can build")


def require_equal(name: str, value: object, source: str, expected: object) -> None:
    """Rejects a config whose `value`, called `name`, differs from the size that `source` gives."""
    require(value == expected, f"{name} must be {source} {expected}, got {value}")


def require_multiple(name: str, value: int, factor: int, rule: str) -> None:
    """Rejects a config whose `value`, called `name`, is no multiple of `factor`, described by `rule`."""
    require(value % factor == 0, f"{name} must be a multiple of {rule}, got {value}")


def check_value(name: str, value: object, declared: Any, signed: bool = False) -> None:
    """Raises ValueError if a value is not of the declared type, or is a number that is not positive.

    Numbers may be zero or negative if `signed`. A tuple is declared as `tuple[int, ...]`, and may be a list.
    """
    member = get_args(declared)[0] if get_args(declared) else declared
    members = [value] if member is declared else value
    has_type = isinstance(members, (list, tuple)) and all(type(one) in _ACCEPTED[member] for one in members)
    require(has_type, f"{name} must be {formatannotation(declared)}, got {value!r}")
    require(members != [] and members != (), f"{name} must hold at least one value, got {value}")
    for number in members if member in (int, float) else ():  # type: ignore[attr-defined]
        require(number < _LIMIT, f"{name} must be below {_LIMIT}, got {value}")
        require(signed or number > 0, f"{name} must be positive, got {value}")


def check_positive(config: object) -> None:
    """Raises ValueError for the first field of the wrong type, or with a number that is not positive."""
    for field, declared in get_type_hints(type(config)).items():
        if declared in _ACCEPTED or get_args(declared)[1:] == (...,):
            check_value(f"{type(config).__name__}.{field}", getattr(config, field), declared)
