"""The other end of `remote_tests`: runs the requested tests and reports each of them as it finishes.

`run_requested` is called in the other process. It reads `request.json` and appends one JSON object per event
to `events.jsonl`, both in the folder that it is given:

    {"event": "start", "test": [FILE, FUNCTION], "case": NODE_ID, "output": OFFSET}   before a case runs
    {"event": "finish", "test": ..., "case": ..., "outcome": "passed|failed|skipped", "text": TEXT}
    {"event": "done", "test": ...}                       after the last case (set of parameters) of a function
    {"event": "uncollected", "file": FILE, "text": TEXT}                       a file could not be imported
    {"event": "end"}                                                           after the last test
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

STDOUT = 1


def run_requested(folder: Path, arguments: Sequence[str] = ()) -> int:
    """Runs the tests that `folder/request.json` lists and returns pytest's exit code."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    wanted = [tuple(test) for test in request["tests"]]
    files = list(dict.fromkeys(file for file, _ in wanted))
    with (folder / "events.jsonl").open("a", encoding="utf-8") as events:
        options = (
            *("-p", "no:cacheprovider", "--continue-on-collection-errors"),
            "--capture=tee-sys",  # what a test has written can be read when it hangs or crashes
            *("-o", f"faulthandler_timeout={0.8 * request['case_seconds']}"),  # shows where it hangs
        )
        return int(pytest.main([*options, *arguments, *files], plugins=[EventWriter(events, wanted)]))


class EventWriter:
    """Pytest plugin: keeps the wanted tests of the collected files, and writes the events."""

    def __init__(self, events: Any, wanted: Sequence[tuple[str, ...]]) -> None:
        self.events, self.wanted = events, {*wanted}
        self.root = Path()
        self.remaining: Counter[tuple[str, str]] = Counter()  # cases of each function that are still to run
        self.reports: list[pytest.TestReport] = []

    def write(self, event: str, **content: Any) -> None:
        """Appends one event."""
        self.events.write(json.dumps({"event": event, **content}) + "\n")
        self.events.flush()

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Notes the folder that node ids are relative to."""
        self.root = session.config.rootpath

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Reports a file that cannot be imported."""
        if report.failed:
            self.write("uncollected", file=str(self.root / report.nodeid), text=report.longreprtext)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Drops the tests that are not wanted."""
        items[:] = [item for item in items if test_of(item) in self.wanted]
        self.remaining.update(map(test_of, items))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Reports the start and the result of one case."""
        test = test_of(item)
        self.reports = []
        self.write("start", test=test, case=item.nodeid, output=os.lseek(STDOUT, 0, os.SEEK_CUR))
        result = yield
        outcome, text = summary(self.reports)
        self.write("finish", test=test, case=item.nodeid, outcome=outcome, text=text)
        self.remaining[test] -= 1
        if not self.remaining[test]:
            self.write("done", test=test)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collects the reports of set-up, call and tear-down."""
        self.reports.append(report)

    def pytest_sessionfinish(self) -> None:
        """Reports the end: what has no result by now gets none."""
        self.write("end")


def test_of(item: pytest.Item) -> tuple[str, str]:
    """File and function of a case."""
    return str(item.path), item.name.partition("[")[0]


def summary(reports: Sequence[pytest.TestReport]) -> tuple[str, str]:
    """Outcome of a case, and the text that explains it."""
    for report in reports:
        if report.failed:
            sections = [f"--- {title} ---\n{text}" for title, text in report.sections]
            return "failed", "\n".join([report.longreprtext, *sections])
    for report in reports:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            return "skipped", str(reason)
    return "passed", ""
