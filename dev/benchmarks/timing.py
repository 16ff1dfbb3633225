"""Timers, and measurements of the machine itself: memory bandwidth, file reading, memory in use."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

WARM_UP = 4  # steps before the clock starts
RUNS = 3  # repetitions, of which the median is taken


class TimedEnoughError(Exception):
    """Ends a run once enough of its steps are timed."""


class StepClock:
    """An `on_step` callback that times `steps` steps after the warm-up and then ends the run."""

    def __init__(self, device: str, steps: int, warm_up: int = WARM_UP) -> None:
        self.device, self.warm_up, self.last = device, warm_up, warm_up + steps
        self.start = self.per_step = 0.0

    def __call__(self, step: int, *_: object) -> None:
        """Is called after each step."""
        if step == self.warm_up:
            self.start = now(self.device)
        if step == self.last:
            self.per_step = (now(self.device) - self.start) / (self.last - self.warm_up)
            raise TimedEnoughError


def now(device: str) -> float:
    """The time in seconds, after waiting for all work on the device."""
    if device != "cpu":
        torch.get_device_module(device).synchronize()
    return time.perf_counter()


def seconds(device: str, work: Callable[[], object]) -> float:
    """Median time of `work` in seconds, after one warm-up call."""
    work()
    times = []
    for _ in range(RUNS):
        start = now(device)
        work()
        times.append(now(device) - start)
    return statistics.median(times)


def per_step(device: str, steps: int, run: Callable[[StepClock], object], warm_up: int = WARM_UP) -> float:
    """Mean time of one step in seconds; `run` must call the clock it is given after each step."""
    clock = StepClock(device, steps, warm_up)
    try:
        run(clock)
    except TimedEnoughError:
        return clock.per_step
    raise ValueError(f"steps must end before the image does, got {steps}; time fewer")


def memory_rate(device: str, count: int = 2**28) -> float:
    """Memory bandwidth in bytes per second: reading on a CPU, reading plus writing on a GPU.

    It is measured with `count` float32 numbers, which must be many more than a cache holds.
    """
    numbers = torch.ones(count, device=device)
    if device != "cpu":
        target = torch.empty_like(numbers)
        return 2 * numbers.nbytes / seconds(device, lambda: target.copy_(numbers))
    return numbers.nbytes / seconds(device, numbers.sum)


def file_seconds(file: Path) -> float:
    """Seconds that it takes to read a file into newly allocated memory."""
    start = time.perf_counter()
    memory = torch.empty(file.stat().st_size, dtype=torch.uint8)
    view, done = memory.numpy().data, 0
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(view[done:]):
            done += count
    return time.perf_counter() - start


def resident(kind: str) -> int:
    """Bytes of memory in use now (`VmRSS`) or at the peak (`VmHWM`); 0 on other systems than Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind + ":"))
