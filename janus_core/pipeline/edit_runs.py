"""Groups the results of an edit into runs that are generated together, from one or several source images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class EditRun:
    """Results that are generated as one batch.

    Attributes:
        sources: indices of the source images; each is prefilled once.
        rows: indices of the results: the same number for each source, adjacent.
        masked: for inpainting, the token positions to generate, the same in all rows.
    """

    sources: list[int]
    rows: list[int]
    masked: tuple[int, ...] = ()

    def halves(self) -> list[EditRun]:
        """Two runs with half of the sources each, or of the rows of a single one; a single row as it is."""
        count = len(self.sources)
        if count > 1:
            first, per_source = count // 2, len(self.rows) // count
            return [
                EditRun(self.sources[:first], self.rows[: first * per_source], self.masked),
                EditRun(self.sources[first:], self.rows[first * per_source :], self.masked),
            ]
        middle = len(self.rows) // 2
        parts = (self.rows[:middle], self.rows[middle:])
        return [EditRun(self.sources, rows, self.masked) for rows in parts if rows]


def split_runs(blocks: Iterable[EditRun], max_batch_size: int) -> list[EditRun]:
    """Splits and joins runs of one source each, so that each run has at most `max_batch_size` rows.

    Sources are joined if they have the same masked positions and number of rows.
    """
    alike: dict[tuple[tuple[int, ...], int], list[EditRun]] = {}
    for block in blocks:
        alike.setdefault((block.masked, len(block.rows)), []).append(block)
    runs = []
    for (masked, num_rows), group in alike.items():
        at_once = max(max_batch_size // num_rows, 1)
        for start in range(0, len(group), at_once):
            joined = group[start : start + at_once]
            sources = list(chain.from_iterable(block.sources for block in joined))
            rows = list(chain.from_iterable(block.rows for block in joined))
            # Only a single source can have too many rows.
            runs += [
                EditRun(sources, rows[first : first + max_batch_size], masked)
                for first in range(0, len(rows), max_batch_size)
            ]
    return runs
