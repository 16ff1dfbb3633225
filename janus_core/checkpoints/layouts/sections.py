"""Declares the sections of a config.json as tables of entries, and reads them.

Each entry that changes what the reference code computes has a row: either the model follows it, or it must
have a supported value. Entries without a row, such as dropout rates, have no effect on inference.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.checks import check_value, require, require_equal

Json = dict[str, Any]
Values = Mapping[str, Json]  # the entries of each section, by its path

_log = logging.getLogger(__name__)
_ABSENT: Any = object()
_MOST_DESCRIBED = 2  # sections in an error message


@dataclass(frozen=True)
class Followed:
    """An entry that the model follows.

    Attributes:
        kind: its type, as in the annotations of config dataclasses.
        default: value of an absent entry in the reference; without a default, the entry is required. If it is
            None, the entry may also be null.
        signed: whether it may be zero or negative.
    """

    kind: Any = int
    default: Any = _ABSENT
    signed: bool = False

    def read(self, name: str, found: Any) -> Any:
        """Checks the type of an entry and returns its value; errors call it `name`."""
        value = self.default if found is _ABSENT else found
        require(value is not _ABSENT, f"{name} must be given, got none")
        if value is None and self.default is None:
            return None
        check_value(name, value, self.kind, self.signed)
        return tuple(value) if isinstance(value, list) else value


class Fixed:
    """An entry with a fixed set of supported values; any other value is refused.

    The value of an absent entry in the reference is the first of them, or `default` if that is given.
    """

    def __init__(self, *values: Any, default: Any = _ABSENT) -> None:
        self.values = values
        self.default = values[0] if default is _ABSENT else default

    def read(self, name: str, found: Any) -> Any:
        """Checks the value of an entry and returns it; errors call it `name`."""
        value = self.default if found is _ABSENT else found
        supported = " or ".join(repr(one) for one in self.values)
        given = "none, which means " if found is _ABSENT else ""
        require(value in self.values, f"{name} must be {supported}, got {given}{value!r}")
        return value


Row = Followed | Fixed


@dataclass(frozen=True)
class Section:
    """A part of config.json.

    Attributes:
        path: keys of the nested objects, joined with dots; empty for the whole file.
        entries: its rows by key.
        optional: whether it may be absent or null; then, or if it is empty, it has no values.
    """

    path: str
    entries: Mapping[str, Row]
    optional: bool = False

    def read(self, config: Json) -> Json:
        """Returns the values of all entries; raises ValueError for the first one that is not supported."""
        part = self.find(config)
        if self.optional and not part:
            return {}
        prefix = f"{self.path}." if self.path else ""
        without = sorted(key for key in part.keys() - self.entries.keys() if not isinstance(part[key], dict))
        _log.debug("entries without effect in %s: %s", self.path or "config.json", ", ".join(without))
        return {
            key: entry.read(f"{prefix}{key}", part.get(key, _ABSENT)) for key, entry in self.entries.items()
        }

    def find(self, config: Json) -> Json:
        """Returns the section of a config.json's content."""
        part: Any = config
        for name in self.path.split(".") if self.path else ():
            part = part.get(name)
            if part is None and self.optional:
                return {}
            require(isinstance(part, dict), f"{self.path} must be an object, got {part!r:.40}")
        return dict(part)


def describe_sizes(config: Json, paths: Collection[str]) -> str:
    """Lists the numbers in some sections of a config.json, for an error message; empty for many sections."""
    if len(paths) > _MOST_DESCRIBED:
        return ""
    texts = []
    for path in sorted(paths):
        part = Section(path, {}).find(config)
        numbers = [f"{key} {value}" for key, value in part.items() if isinstance(value, (int, float, list))]
        texts.append(f"{path or 'config.json'}: {', '.join(numbers)}")
    return f" ({'; '.join(texts)})"


def check_same(values: Values, name: str, other: str) -> None:
    """Refuses two entries, given by their paths, that must be equal but differ."""
    sizes = [values[path][key] for path, _, key in (name.rpartition("."), other.rpartition("."))]
    require_equal(name, sizes[0], other, sizes[1])
