"""Progress callbacks of the sampling loops."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

OnStep = Callable[[int, int, Tensor], None]
"""Called after each step as `on_step(steps_done, max_steps, state)`.

The state is the tokens so far [B, step], or the latents [B, 4, h, w] between noise and image. Raise to
cancel: the exception passes through the loop unchanged.
"""

OnImage = Callable[[int, int], None]
"""Called after each image as `on_image(images_done, num_images)`; raise to cancel."""


def ignore_step(step: int, total: int, state: Tensor) -> None:
    """An `OnStep` that does nothing."""


def ignore_image(done: int, total: int) -> None:
    """An `OnImage` that does nothing."""


def may_preview(on_step: OnStep) -> bool:
    """Whether a callback may decode an image while others are generated, for which memory is reserved.

    A callback that never does has an attribute `previews` that is False.
    """
    return on_step is not ignore_step and bool(getattr(on_step, "previews", True))


def part_of(on_step: OnStep, index: int, count: int) -> OnStep:
    """Reports the steps of run `index` of `count` equal runs as steps of all runs together."""

    def report(step: int, total: int, state: Tensor) -> None:
        on_step(index * total + step, count * total, state)

    return report
