"""Runs a job on one machine: in this process, or in one process for each device or share of the cores."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from ..models.devices import ACCELERATORS
from .job import Job
from .report import BatchReport, Progress, ProgressLines
from .sinks import Sink
from .sources import Source
from .worker import Worker, resolved_device

Share = tuple[int, int]
"""(i, n) for the parts i, i + n, i + 2 n, … of a job."""


def run_locally(
    job: Job,
    workers: int | None = None,
    share: Share = (0, 1),
    say: Callable[[str], None] = lambda line: None,
) -> BatchReport:
    """Runs a job to its end, or until Ctrl-C.

    Args:
        job: what to do; `prepare` has checked it.
        workers: processes; one for each CUDA device by default, else one.
        share: of the job, if several machines work on it.
        say: takes lines that tell the progress.
    """
    source, sink = job.prepare()
    count = job.count(source)
    done = sink.done()
    left = math.ceil(max(count - len(done), 0) / share[1])  # if the others begin at the same time
    report = BatchReport(left, min(len(done), count))
    tell = ProgressLines(report, say)
    devices = local_devices(job.options.device)
    workers = workers or len(devices)
    job = replace(job, options=replace(job.options, workers_here=workers))
    with stop_requests() as stopped:
        if workers == 1:
            work(job, source, sink, done, share, devices[0], tell, lambda: bool(stopped))
        else:
            _run_processes(job, workers, share, devices, tell, report, stopped)
    report.stopped = bool(stopped)
    return report


def work(
    job: Job,
    source: Source,
    sink: Sink,
    done: set[bytes],
    share: Share,
    device: str,
    tell: Callable[[Progress], object],
    stopped: Callable[[], bool],
) -> None:
    """Computes the parts of a share; once `stopped` says so, writes the batches that are complete."""
    worker = None
    for part in job.parts(source, done, sink.refused, share):
        worker = worker or Worker(job.options, device)  # not if nothing is left to do
        results = worker.run(part.rows, stopped)
        if results:
            sink.write(part.number, results)
            tell(Progress.of(results))
        if stopped():
            return


def local_devices(device: str) -> list[str]:
    """The devices of one worker each."""
    kind = resolved_device(device)
    if kind not in ACCELERATORS or not torch.get_device_module(kind).is_available():
        return [kind]
    return [f"{kind}:{index}" for index in range(torch.get_device_module(kind).device_count())]


def _run_processes(
    job: Job,
    workers: int,
    share: Share,
    devices: list[str],
    tell: Callable[[Progress], object],
    report: BatchReport,
    stopped: list[int],
) -> None:
    """Starts workers with a share each, and waits for all of them."""
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    running: dict[Connection, tuple[str, Any]] = {}
    for index in range(workers):
        ours, theirs = context.Pipe()
        part = (share[0] + index * share[1], share[1] * workers)
        device = devices[index % len(devices)]
        process = context.Process(target=_process, args=(job, part, device, theirs), daemon=True)
        process.start()
        theirs.close()
        running[ours] = (f"worker {index + 1} on {device}", process)
    ends: dict[str, str] = {}
    sent = False
    while running:
        if stopped and not sent:  # through the pipe: the signal itself may have reached the workers as well
            sent = True
            for each in running:
                with suppress(OSError):  # it has ended
                    each.send(stopped[0])
        ready = wait(list(running), timeout=1.0)
        for connection in [each for each in running if each in ready]:
            name, process = running[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                process.join()
                del running[connection]
                if process.exitcode:  # and it has not said why
                    ends.setdefault(name, f"it ended with {_exit(process.exitcode)}")
                continue
            if isinstance(message, Progress):
                tell(message)
            else:
                ends[name] = message
    report.lost += [f"{name} must finish its share, but {why}" for name, why in sorted(ends.items())]


def _process(job: Job, share: Share, device: str, connection: Connection) -> None:
    """Works on a share, and sends the progress; ends if there is no one to send it to."""
    with suppress(ConnectionError, EOFError), stop_requests() as stopped:
        source = job.open_source()
        sink = job.open_sink(source)

        def asked() -> bool:
            if connection.poll():
                stopped.append(connection.recv())  # EOFError if the command was killed
            return bool(stopped)

        try:
            work(job, source, sink, sink.done(), share, device, connection.send, asked)
        except (OSError, ValueError, RuntimeError) as error:
            connection.send(f"it failed: {error}")
            sys.exit(1)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Defers the first Ctrl-C or SIGTERM, so that complete batches are written; a second one acts at once.

    The list that it yields is empty until then.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}
    requests: list[int] = []

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def defer(number: int, frame: object) -> None:
        requests.append(number)
        restore()

    for number in signals:
        signal.signal(number, defer)
    try:
        yield requests
    finally:
        restore()


def _exit(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 and os.name != "nt" else f"exit code {code}"
