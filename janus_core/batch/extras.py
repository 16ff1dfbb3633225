"""Packages that only some uses need."""

from __future__ import annotations

from importlib.util import find_spec

_INSTALL = {"ray": 'pip install "ray[data]"', "pyarrow": "pip install pyarrow"}


def require(package: str, what: str) -> None:
    """Raises ImportError if a package is not installed; `what` needs it."""
    if find_spec(package) is None:
        raise ImportError(f"{package} must be installed for {what}, got none; run: {_INSTALL[package]}")
