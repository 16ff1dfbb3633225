"""Collects the errors in a data set, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_MAX_LINES = 20


class Problems:
    """The errors found so far."""

    def __init__(self) -> None:
        self._errors: list[ValueError | OSError] = []

    @contextmanager
    def collected(self, place: str = "") -> Iterator[None]:
        """Catches and keeps an error that is raised within; `place` is put before its message."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.add(ValueError(f"{place}: {error}") if place else error)

    def add(self, error: ValueError | OSError) -> None:
        """Keeps an error."""
        self._errors.append(error)

    def refuse(self) -> None:
        """Raises one error with the messages of the first 20 and the number of all; none if there are none.

        Raises:
            FileNotFoundError: if all of them are about missing files.
            ValueError: for any other problem.
        """
        if not self._errors:
            return
        only_missing = all(isinstance(error, FileNotFoundError) for error in self._errors)
        lines = [str(error) for error in self._errors[:_MAX_LINES]]
        if len(self._errors) > 1:
            lines.insert(0, f"all training data must be usable, got {len(self._errors)} problems:")
        if len(self._errors) > _MAX_LINES:
            lines.append(f"and {len(self._errors) - _MAX_LINES} more")
        raise (FileNotFoundError if only_missing else ValueError)("\n".join(lines))
