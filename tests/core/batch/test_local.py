"""Runs on one machine: every row exactly once, however often workers and commands are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from janus_nodes.janus_core.batch import local
from janus_nodes.janus_core.batch.local import run_locally
from janus_nodes.janus_core.batch.sinks import open_sink
from support.batch import BAD, COMMAND, SAMPLED, job, kill_after, rows_of, start, write_rows

Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows, bad ones among them."""
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of an undisturbed run in this process."""
    output = tmp_path_factory.mktemp("undisturbed")
    report = run_locally(job(source, output))
    assert report.num_failed == len(BAD) and not report.lost and not report.stopped
    return rows_of(output)


def test_bad_rows_are_reported_by_id(source: Path, expected: Rows, tmp_path: Path) -> None:
    said: list[str] = []
    report = run_locally(job(source, tmp_path / "out"), say=said.append)
    assert report.failed.keys() == {*BAD} and all(f"\n{row_id}: " in report.text for row_id in BAD)
    assert report.text.startswith(f"{len(expected) - len(BAD)} rows done, {len(BAD)} failed, in 0:00:")
    assert rows_of(tmp_path / "out") == expected
    again = run_locally(job(source, tmp_path / "out"))
    assert (again.done, again.skipped, again.total) == (0, len(expected), 0)
    assert f"0 rows done, 0 failed, {len(expected)} were done before" in again.text


def test_a_run_goes_on_by_the_ids_in_its_output(source: Path, expected: Rows, tmp_path: Path) -> None:
    output = tmp_path / "out"
    whole = job(source, output)
    run_locally(whole, share=(1, 3))
    some = rows_of(output)
    assert 0 < len(some) < len(expected)
    # Parts of other sizes than before, and a source in another order.
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    first, rest = lines[:2], lines[2:]
    other = tmp_path / "moved" / source.name
    other.parent.mkdir()
    other.write_text(
        "".join(first + [line for line in rest if '"Again?"' not in line][::-1]), encoding="utf-8"
    )
    run_locally(job(other, output, rows_per_part=5, batch_size=2, image_folder=source.parent))
    assert rows_of(output) == {row_id: row for row_id, row in expected.items() if row_id != "row 1#2"}


def test_failures_can_be_tried_again(source: Path, tmp_path: Path) -> None:
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    file = source.with_name("late.jsonl")
    file.write_text("".join(lines[:3]).replace("0.png", "late.png"), encoding="utf-8")
    whole = job(file, tmp_path / "out")
    assert run_locally(whole).num_failed == 1
    (source.parent / "late.png").write_bytes((source.parent / "0.png").read_bytes())
    assert run_locally(whole).total == 0
    assert open_sink(whole.output, "jsonl", whole.options.of_task).drop_failed() == 1
    report = run_locally(whole)
    assert (report.done, report.num_failed) == (1, 0) and len(rows_of(whole.output)) == 3


def test_ctrl_c_writes_the_batches_that_are_complete(
    source: Path, expected: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(source, tmp_path / "out", rows_per_part=50)
    run = local.Worker.run

    def interrupted(worker: local.Worker, rows: Any, stopped: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return run(worker, rows, stopped)

    monkeypatch.setattr(local.Worker, "run", interrupted)
    before = signal.getsignal(signal.SIGINT)
    report = run_locally(whole)
    assert signal.getsignal(signal.SIGINT) is before
    assert report.stopped and report.text.endswith("stopped; run the same command again to continue")
    assert 0 < len(rows_of(whole.output)) == report.done + report.num_failed < len(expected)
    monkeypatch.undo()
    run_locally(whole)
    assert rows_of(whole.output) == expected


def test_a_worker_that_fails_says_why(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        exitcode = 1

        def __init__(self, args: Any, **_: Any) -> None:
            self._connection = args[-1]

        def start(self) -> None:
            self._connection.send("it failed: the disk is full")

        def join(self) -> None:
            pass

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Process)
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda method: context)
    report = run_locally(job(source, tmp_path / "out"), workers=2)
    assert len(report.lost) == 2
    assert all(
        line.endswith("must finish its share, but it failed: the disk is full") for line in report.lost
    )


@pytest.mark.parametrize("asked", [True, False])
def test_a_worker_stops_if_the_command_says_so_or_is_gone(
    source: Path, expected: Rows, tmp_path: Path, asked: bool
) -> None:
    whole = job(source, tmp_path / "out", rows_per_part=50)
    whole.prepare()
    ours, theirs = multiprocessing.Pipe()
    if asked:
        ours.send(signal.SIGTERM)
    else:
        ours.close()
    local._process(whole, (0, 1), "cpu", theirs)
    # A run that is started meanwhile writes the rows of a command that was killed.
    rows = rows_of(whole.output)
    assert (0 < len(rows) < len(expected)) if asked else rows == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_get_one_request_to_stop(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    found: list[list[int]] = []

    class Process:
        exitcode = 0

        def __init__(self, args: Any, **_: Any) -> None:
            # As in a process of its own, since the command closes the connection here.
            self._connection = Connection(os.dup(args[-1].fileno()))

        def start(self) -> None:
            if not found:
                os.kill(os.getpid(), number)
            found.append([])
            threading.Thread(target=self._listen, args=(self._connection, found[-1])).start()

        def _listen(self, theirs: Any, numbers: list[int]) -> None:
            with theirs:
                while theirs.poll(1.0):
                    numbers.append(theirs.recv())

        def join(self) -> None:
            pass

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Process)
    monkeypatch.setattr(local.multiprocessing, "get_context", lambda method: context)
    report = run_locally(job(source, tmp_path / "out"), workers=2)
    assert report.stopped and not report.lost
    assert found == [[number]] * 2


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Starts commands, and ends them and their workers after the test."""
    started: list[Any] = []

    def run(*arguments: Any) -> Any:
        started.append(start(*arguments))
        return started[-1]

    yield run
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


def test_a_worker_and_the_command_are_killed(
    source: Path, expected: Rows, tmp_path: Path, process: Any
) -> None:
    psutil = pytest.importorskip("psutil")
    output = tmp_path / "out"
    arguments = ("ask", source, output, *COMMAND, *SAMPLED, "--batch-size", "3", "--workers", "2")

    def worker() -> int | None:
        children = psutil.Process(running.pid).children(recursive=True)
        workers = [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
        return random.Random(0).choice(workers) if len(workers) == 2 else None

    running = process(*arguments)
    kill_after(running, output, worker)
    text, errors = running.communicate(timeout=120)
    assert running.returncode == 1, errors
    assert "must finish its share, but it ended with signal SIGKILL; run the same command again" in text
    some = rows_of(output)
    assert 0 < len(some) < len(expected)

    # Workers of a killed command end by themselves, and may write the parts that they are at.
    running = process(*arguments)
    kill_after(running, output, lambda: running.pid, parts=len(list(output.glob("part-*"))) + 1)
    running.communicate()
    run_locally(job(source, output))
    assert rows_of(output) == expected
