"""Runs tests in another process, one after the other, each with its own time limit.

One process runs all tests, because its start is slow. A test that hangs or crashes fails alone: the process
is ended, and the tests that have no result yet run in a new one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.05
MAX_OUTPUT = 20_000  # characters of output that a report repeats

Test = tuple[str, str]
"""File and function."""


@dataclass(frozen=True)
class Limits:
    """Seconds until a process counts as hanging: before its first test, and in one case of a test."""

    start: float = 300
    case: float = 180


@dataclass
class Result:
    """What became of a test function with all its cases (sets of parameters)."""

    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)


class RemoteTests:
    """Runs `tests` in processes started by `command` and gives their results one by one.

    Args:
        command: starts a process that calls `remote_plugin.run_requested` on the folder that is appended as
            the last argument.
        tests: in the order in which they are to run.
        limits: see `Limits`.
    """

    def __init__(self, command: Sequence[str], tests: Sequence[Test], limits: Limits | None = None) -> None:
        self.command, self.tests, self.limits = command, tests, limits or Limits()
        self.processes = 0
        self._results: dict[Test, Result] = {}
        self._done: set[Test] = set()
        self._uncollected: dict[str, str] = {}
        self._never_started = ""
        self._process: _Process | None = None

    def result(self, test: Test) -> Result:
        """Waits for the result of one test."""
        while test not in self._done:
            if self._never_started:
                return Result([self._never_started])
            if self._process is None:
                self._start()
            else:
                self._read(self._process, test)
        return self._results[test]

    def close(self) -> None:
        """Ends the process, if one runs."""
        if self._process:
            self._process.close()
            self._process = None

    def _start(self) -> None:
        """Starts a process for the tests that have no result yet."""
        self.processes += 1
        self._results = {test: self._results[test] for test in self._done}  # nothing of half a function
        remaining = [test for test in self.tests if test not in self._done]
        self._process = _Process(self.command, remaining, self.limits)

    def _read(self, process: _Process, test: Test) -> None:
        """Reads new events, and decides what is to be done if `test` still has no result."""
        ended = process.has_ended()  # before reading, so that its last events are not missed
        for event in process.new_events():
            self._take(event)
        limit = self.limits.case if process.has_begun else self.limits.start
        if test in self._done:
            return
        if test[0] in self._uncollected:
            self._fail(test, self._uncollected[test[0]])
        elif process.finished:
            self._fail(test, f"it was not collected{process.output()}")
        elif ended:
            self._give_up(process, test, f"the process ended with code {process.code}")
        elif process.silent_for() > limit:
            self._give_up(process, test, f"no result within {limit:.0f} s, so the process was ended")
        else:
            time.sleep(POLL_SECONDS)

    def _take(self, event: dict[str, Any]) -> None:
        """Notes what an event says of a test."""
        if event["event"] == "uncollected":
            self._uncollected[event["file"]] = event["text"]
        elif event["event"] == "finish":
            result = self._results.setdefault(tuple(event["test"]), Result())
            if event["outcome"] == "failed":
                result.failures.append(f"{event['case']}\n{event['text']}")
            elif event["outcome"] == "skipped":
                result.skips.append(event["text"])
        elif event["event"] == "done":
            self._results.setdefault(tuple(event["test"]), Result())
            self._done.add(tuple(event["test"]))

    def _give_up(self, process: _Process, test: Test, reason: str) -> None:
        """Ends a process that hangs or has crashed, and fails the test that it ran."""
        output, running = process.output(), process.running
        self.close()
        if running:
            self._fail(tuple(running["test"]), f"{running['case']}: {reason}{output}")
        elif process.has_begun:
            self._fail(test, f"between two tests: {reason}{output}")
        else:
            self._never_started = f"before the first test: {reason}; the first failed test shows the output"
            self._fail(test, f"before the first test: {reason}{output}")

    def _fail(self, test: Test, reason: str) -> None:
        self._results.setdefault(test, Result()).failures.append(reason)
        self._done.add(test)


class _Process:
    """One process, and what it has reported so far."""

    def __init__(self, command: Sequence[str], tests: Sequence[Test], limits: Limits) -> None:
        self.running: dict[str, Any] | None = None  # the start event of the running case
        self.has_begun = self.finished = False
        self.code: int | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="janus-nodes-tests-"))
        request = {"tests": tests, "case_seconds": limits.case}
        (self._folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        (self._folder / "events.jsonl").touch()
        self._events = (self._folder / "events.jsonl").open(encoding="utf-8")
        self._incomplete_line = ""
        self._output_start = 0
        self._last_event = time.monotonic()
        with (self._folder / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(self._folder)],
                env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def has_ended(self) -> bool:
        """Whether the process is gone; sets `code`."""
        self.code = self._process.poll()
        return self.code is not None

    def silent_for(self) -> float:
        """Seconds since the last event."""
        return time.monotonic() - self._last_event

    def new_events(self) -> list[dict[str, Any]]:
        """Returns the events since the last call."""
        *lines, self._incomplete_line = (self._incomplete_line + self._events.read()).split("\n")
        events = [json.loads(line) for line in lines]
        for event in events:
            self._last_event = time.monotonic()
            if event["event"] == "start":
                self.has_begun, self.running, self._output_start = True, event, event["output"]
            elif event["event"] == "finish":
                self.running = None
            elif event["event"] == "end":
                self.finished = True
        return events

    def output(self) -> str:
        """What the process has written since the start of its last case."""
        written = (self._folder / "output.txt").read_bytes()[self._output_start :]
        return f"\n--- output ---\n{written.decode(errors='replace')[-MAX_OUTPUT:]}"

    def close(self) -> None:
        """Ends the process and deletes its files."""
        self._process.kill()
        self._process.wait()
        self._events.close()
        shutil.rmtree(self._folder, ignore_errors=True)
