"""What configurations check about themselves."""

from __future__ import annotations

from dataclasses import fields

# What a field that is declared so may hold.
_KINDS = {"int": (int,), "float": (int, float), "bool": (bool,), "tuple[int, ...]": (int,)}


def require(condition: bool, message: str) -> None:
    """Refuses a configuration.

    Raises:
        ValueError: if the condition does not hold.
    """
    if not condition:
        raise ValueError(
            f"{message}; the config.json does not describe a Janus model that this version can build"
        )


def check_positive(config: object) -> None:
    """Refuses a configuration with a number of the wrong kind or one that is not positive.

    Raises:
        ValueError: if there is one; it says which.
    """
    for field in fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        kinds = _KINDS.get(str(field.type))
        fits = kinds is None or all(
            type(v) in kinds for v in (value if isinstance(value, tuple) else (value,))
        )
        require(fits, f"{type(config).__name__}.{field.name} must be {field.type}, got {value!r}")
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                require(number > 0, f"{type(config).__name__}.{field.name} must be positive, got {value}")
