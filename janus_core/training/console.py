"""Console output of training commands, and a graceful stop at Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..sampling.steps import OnImage

PROGRESS_INTERVAL = 5.0  # seconds


def say(text: str) -> None:
    """Prints a line and flushes it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def progress(what: str) -> OnImage:
    """Returns an `OnImage` that prints a line every few seconds, such as `120 of 400 images checked`."""
    said = time.monotonic()

    def on_image(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_INTERVAL:
            said = time.monotonic()
            say(f"{done} of {total} {what}")

    return on_image


@contextmanager
def deferred_interrupts() -> Iterator[list[int]]:
    """Defers the first Ctrl-C to the end of a step, so that no work is lost; a second one acts at once.

    The list that it yields is empty until the first Ctrl-C.
    """
    previous = signal.getsignal(signal.SIGINT)
    interrupts: list[int] = []

    def defer(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, defer)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)
