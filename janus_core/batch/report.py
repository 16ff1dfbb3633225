"""Counts of a run, its rate and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .rows import Result

LISTED_FAILURES = 20
INTERVAL = 5.0  # seconds between two lines


@dataclass(frozen=True)
class Progress:
    """What has become of a part.

    Attributes:
        done: rows that were computed.
        failed: for rows that were not, the reason by id; of many, only the first.
        num_failed: their number.
    """

    done: int
    failed: dict[str, str]
    num_failed: int

    @classmethod
    def of(cls, results: list[Result]) -> Progress:
        """Counts the results of a part."""
        failed = {result["id"]: result["error"] for result in results if result["error"]}
        first = dict(list(failed.items())[:LISTED_FAILURES])
        return cls(len(results) - len(failed), first, len(failed))


@dataclass
class BatchReport:
    """The result of a run.

    Attributes:
        total: rows that were left to do.
        skipped: rows that an earlier run has done.
        done: rows that were computed.
        num_failed: rows that are written with an error.
        failed: reasons of the first of these, by id.
        lost: what has ended before its work was done, such as a worker that was killed.
        seconds: since the first row.
    """

    total: int
    skipped: int
    done: int = 0
    num_failed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0

    def add(self, progress: Progress) -> None:
        """Adds a part."""
        self.done += progress.done
        self.num_failed += progress.num_failed
        for row_id, reason in progress.failed.items():
            if len(self.failed) < LISTED_FAILURES:
                self.failed[row_id] = reason

    @property
    def line(self) -> str:
        """Rows so far, their rate, and the time left."""
        rows = self.done + self.num_failed
        rate = rows / self.seconds if self.seconds else 0.0
        left = f", {_duration((self.total - rows) / rate)} left" if rate and rows < self.total else ""
        return f"{rows:,} of {self.total:,} rows, {self.num_failed:,} failed, {rate:.2f} rows/s{left}"

    @property
    def text(self) -> str:
        """The counts, the first rows that failed, and what to do if some are missing."""
        already = f", {self.skipped:,} were done before" if self.skipped else ""
        lines = [
            f"{self.done:,} rows done, {self.num_failed:,} failed{already}, in {_duration(self.seconds)}"
        ]
        lines += [f"{row_id}: {reason}" for row_id, reason in self.failed.items()]
        if self.num_failed > len(self.failed):
            lines.append(f"and {self.num_failed - len(self.failed):,} more, whose errors are in the output")
        lines += [f"{what}; run the same command again to continue" for what in self.lost]
        if self.stopped:
            lines.append("stopped; run the same command again to continue")
        return "\n".join(lines)


class ProgressLines:
    """Adds parts to a report, and says a line every few seconds."""

    def __init__(self, report: BatchReport, say: Callable[[str], None]) -> None:
        self.report, self._say = report, say
        self._start = self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Adds a part."""
        now = time.monotonic()
        self.report.add(progress)
        self.report.seconds = now - self._start
        if now - self._said >= INTERVAL:
            self._said = now
            self._say(self.report.line)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
