"""Fills in placeholders in questions, prefixes and suffixes, such as an image's file name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .metadata import embedded_text

METADATA = "metadata"
_VALUES: dict[str, Callable[[Path], str]] = {
    "filename": lambda image: image.stem,
    "folder": lambda image: image.parent.name,
    METADATA: embedded_text,
}
_PLACEHOLDER = re.compile(r"\{(" + "|".join(_VALUES) + r")\}")


class Placeholders:
    """Fills in placeholders for one image; each value is read at most once."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._read: dict[str, str] = {}

    def fill(self, text: str) -> str:
        """Replaces each placeholder; other braces stay, also those within the values."""
        return _PLACEHOLDER.sub(lambda match: self._value(match[1]), text)

    @property
    def lacks_metadata(self) -> bool:
        """Whether `{metadata}` was used, but the file has no text."""
        return self._read.get(METADATA) == ""

    def _value(self, name: str) -> str:
        if name not in self._read:
            self._read[name] = _VALUES[name](self._image)
        return self._read[name]
