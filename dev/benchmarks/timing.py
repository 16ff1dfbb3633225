"""Clocks, and what a machine itself can do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

WARM_UP = 4  # steps before the clock starts
RUNS = 3  # of which the median counts


class EnoughError(Exception):
    """Ends a run that has been timed."""


class StepClock:
    """An `OnStep` that times the steps from `warm_up` on and then ends the run."""

    def __init__(self, device: str, steps: int, warm_up: int = WARM_UP) -> None:
        self.device, self.warm_up, self.last = device, warm_up, warm_up + steps
        self.start = 0.0

    def __call__(self, step: int, *_: object) -> None:
        """Takes note of a step."""
        if step == self.warm_up:
            self.start = now(self.device)
        if step == self.last:
            self.per_step = (now(self.device) - self.start) / (self.last - self.warm_up)
            raise EnoughError


def now(device: str) -> float:
    """Seconds, all work on the device being done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(device: str, work: Callable[[], object]) -> float:
    """Median time of some work, once warm."""
    work()
    times = []
    for _ in range(RUNS):
        start = now(device)
        work()
        times.append(now(device) - start)
    return statistics.median(times)


def per_step(device: str, steps: int, run: Callable[[StepClock], object], warm_up: int = WARM_UP) -> float:
    """Mean time of a step of one run; `run` tells the clock of each."""
    clock = StepClock(device, steps, warm_up)
    try:
        run(clock)
    except EnoughError:
        return clock.per_step
    raise ValueError(f"steps must end before the image does, got {steps}; time fewer")


def memory_rate(device: str) -> float:
    """Bytes per second of reading memory once; on a GPU of copying it, both ways counted."""
    numbers = torch.ones(2**28, device=device)
    if device == "cuda":
        target = torch.empty_like(numbers)
        return 2 * numbers.nbytes / seconds(device, lambda: target.copy_(numbers))
    return numbers.nbytes / seconds(device, numbers.sum)


def file_seconds(file: Path) -> float:
    """Time of reading a file into fresh memory."""
    start = time.perf_counter()
    memory = torch.empty(file.stat().st_size, dtype=torch.uint8)
    view, done = memory.numpy().data, 0
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(view[done:]):
            done += count
    return time.perf_counter() - start


def resident(kind: str) -> int:
    """Bytes of memory in use now (VmRSS) or at most so far (VmHWM); 0 where Linux does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind + ":"))
