"""Cleans up pasted paths: removes quotes, spaces and invisible characters, and decodes `file:` URLs."""

import re
from pathlib import Path
from urllib.parse import unquote

# Invisible characters that programs put around a copied path, such as text direction marks.
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_QUOTES = {'""', "''", "``", "“”", "„“", "‘’", "«»", "「」"}  # in pairs, opening and closing


def clean_path(name: str) -> str:
    """Removes surrounding spaces and quotes, and turns `file:` URLs and a leading `~` into paths."""
    name = _without_spaces(name)
    while len(name) > 1 and name[0] + name[-1] in _QUOTES:
        name = _without_spaces(name[1:-1])
    if address := re.match(r"file:(//(localhost)?)?(?=/)", name, re.IGNORECASE):
        # The path of file:///C:/images has a slash before the drive.
        name = re.sub(r"^/(?=[a-zA-Z]:)", "", unquote(name[address.end() :]))
    if name.startswith(("~/", "~\\")):
        name = str(Path.home()) + name[1:]
    return name


def _without_spaces(name: str) -> str:
    before = ""
    while name != before:
        before, name = name, name.strip().strip(_INVISIBLE)
    return name
