"""How a loop tells of its progress, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

Item = TypeVar("Item")

OnStep = Callable[[int, int, Tensor], None]
"""Called after each step with the steps done, the steps in all (at most), and what is there so far.

That is the tokens [B, step], or the latents [B, 4, h, w] between noise and image.

It may raise to cancel the run: the exception passes through the loop unchanged.
"""

OnImage = Callable[[int, int], None]
"""Called after each image with the images done and the images in all; it may raise to cancel."""


def ignore_step(step: int, total: int, state: Tensor) -> None:
    """An `OnStep` that does nothing."""


def ignore_image(done: int, total: int) -> None:
    """An `OnImage` that does nothing."""


def counted(items: Sequence[Item], on_image: OnImage) -> Iterator[Item]:
    """Yields items, and tells of each when it has been dealt with."""
    for done, item in enumerate(items, start=1):
        yield item
        on_image(done, len(items))


def part_of(on_step: OnStep, index: int, count: int) -> OnStep:
    """Reports the steps of one of several runs as steps of the whole."""

    def report(step: int, total: int, state: Tensor) -> None:
        on_step(index * total + step, count * total, state)

    return report
