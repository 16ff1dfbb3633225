"""What a session has found so far, and the time that it has left."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from janus_core.models.devices import is_out_of_memory
from janus_core.pipeline.device_memory import empty_cache

from ..benchmarks.speed import say


class NoTimeError(Exception):
    """Ends a part for which no time is left."""


@dataclass(frozen=True)
class Figure:
    """One finding.

    Attributes:
        part: of the session.
        name: what was measured.
        measured: in `unit`.
        unit: such as "ms" or "MB".
        limit: in the same unit: the time that memory bandwidth allows, or the bytes that were estimated.
        passed: whether a requirement is met; None if there is none.
    """

    part: str
    name: str
    measured: float
    unit: str
    limit: float | None = None
    passed: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns of the table's row."""
        verdict = "" if self.passed is None else "yes" if self.passed else "NO"
        limit = share = ""
        if self.limit is not None:
            limit = _number(self.limit, self.unit)
            share = f"{self.limit / self.measured:.2f}" if self.measured else ""
        return self.part, self.name, _number(self.measured, self.unit), limit, share, verdict


@dataclass
class Session:
    """A session on one device.

    Attributes:
        device: type of the device.
        seconds: how long the session may take.
        file: where its figures are written after each of them; None to write no file.
        rate: memory bandwidth in bytes per second; 0 until it is measured.
        figures: what was found.
        left_out: parts and figures that were not measured, and why.
        machine: facts about the device.
    """

    device: str
    seconds: float
    file: Path | None = None
    rate: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    _part: str = ""
    _start: float = field(default_factory=time.monotonic)

    @property
    def is_dry(self) -> bool:
        """Whether this is a dry run, on tiny sizes."""
        return self.device == "cpu"

    @property
    def has_failed(self) -> bool:
        """Whether a requirement is not met, or a part ended with an error."""
        errors = any(reason.startswith("error") for reason in self.left_out.values())
        return errors or any(figure.passed is False for figure in self.figures)

    def add(
        self, name: str, measured: float, unit: str, limit: float | None = None, passed: bool | None = None
    ) -> None:
        """Notes and prints a figure of the part in progress."""
        figure = Figure(self._part, name, measured, unit, limit, passed)
        self.figures.append(figure)
        say(f"| {' | '.join(figure.cells)} |")
        self.save()
        self.check_time()

    def read_ms(self, num_bytes: int) -> float:
        """Milliseconds to read some bytes once, at the bandwidth measured."""
        return 1e3 * num_bytes / self.rate if self.rate else 0.0

    def check_time(self) -> None:
        """Raises NoTimeError once the session's time is over."""
        if time.monotonic() - self._start > self.seconds:
            raise NoTimeError

    def run(self, name: str, part: Callable[[Session], None]) -> None:
        """Runs a part of the session, and notes why it was left out if it could not end."""
        self._part = name
        with self.attempting(name):
            self.check_time()
            part(self)
        gc.collect()
        empty_cache(torch.device(self.device))

    @contextmanager
    def attempting(self, name: str) -> Iterator[None]:
        """Runs something that needs time and memory, and notes the name if it could not end."""
        try:
            yield
        except NoTimeError:
            self.leave_out(name, "no time was left")
        except Exception as error:  # the parts after it are worth their time
            reason = "out of memory" if is_out_of_memory(error) else f"error: {type(error).__name__}: {error}"
            self.leave_out(name, reason[:300])

    def leave_out(self, name: str, reason: str) -> None:
        """Notes what was not measured."""
        self.left_out[name] = reason
        say(f"{name} is left out: {reason}")
        self.save()

    def save(self) -> None:
        """Writes all figures."""
        if self.file is None:
            return
        report = {
            "machine": self.machine,
            "seconds": round(time.monotonic() - self._start, 1),
            "figures": [asdict(figure) for figure in self.figures],
            "left out": self.left_out,
        }
        self.file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    def table(self) -> list[str]:
        """All figures as a Markdown table."""
        lines = [", ".join(f"{key} {value}" for key, value in self.machine.items()), ""]
        lines += [
            "| part | figure | measured | limit | limit / measured | as required |",
            "|---|---|---|---|---|---|",
        ]
        lines += [f"| {' | '.join(figure.cells)} |" for figure in self.figures]
        return lines + [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]


def _number(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f} {unit}".strip()
