"""How many rows are computed at once: as many as free memory holds, and fewer after it ran out.

Rows are images, or sequences of text. They do not depend on each other: a batch may be split anywhere.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch

from ..models.devices import is_out_of_memory
from ..models.parts import Parts
from .device_memory import empty_cache, free_bytes
from .runtime import Runtime

Model = TypeVar("Model", bound=Runtime)
Plan = TypeVar("Plan")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)

# The most rows at once. A step reads all weights, and the keys and values of every row. For Janus-Pro-7B in
# bf16 that is 12.3 GB of weights, and on average 0.3 GB of keys and values per image with guidance: 1.8 GB
# per image for 8, 0.7 for 32, and hardly less beyond. Few rows keep a CPU busy. Where a device does not
# tell how much memory is free, nothing makes a number that is too large smaller before the run.
_FEW_ROWS, _MANY_ROWS = 8, 32


class RowGroup(Protocol):
    """Rows that are computed together."""

    @property
    def rows(self) -> Sequence[int]:
        """Their indices."""

    def halves(self: Group) -> Sequence[Group]:
        """Two groups with half of the rows each; for a single row, only itself."""


Group = TypeVar("Group", bound=RowGroup)


@dataclass(frozen=True)
class Chunk:
    """A group whose rows need nothing in common."""

    rows: range

    def halves(self) -> list[Chunk]:
        """See `RowGroup`."""
        middle = len(self.rows) // 2
        return [Chunk(rows) for rows in (self.rows[:middle], self.rows[middle:]) if rows]


def most_rows(device: torch.device) -> int:
    """How many rows are computed at once on a device where memory allows."""
    return _FEW_ROWS if device.type == "cpu" or free_bytes(device) is None else _MANY_ROWS


def chunks_of(runtime: Runtime, count: int) -> list[Chunk]:
    """The rows from 0 to before `count`, split into chunks of at most `max_batch_size`."""
    return [Chunk(rows) for rows in runtime.chunks(count)]


def fit(runtime: Model, parts: Parts, plan: Callable[[Model], tuple[Plan, int]]) -> tuple[Model, Plan]:
    """Plans a run with as many rows at once as there is memory for, and reserves what it needs.

    The number is `max_batch_size`, or half of it, and so on. It leaves room for all weights that the run
    uses, unless not even a single row would fit beside them: to move weights in every step takes longer than
    a few more steps.

    Args:
        runtime: the model.
        parts: those of its parts that the run uses.
        plan: makes the plan for `max_batch_size` rows, and returns it with the bytes that it needs.

    Returns:
        The runtime for the number of rows, and the plan.
    """
    choices = [(runtime, *plan(runtime))]
    room = runtime.room(runtime.device, parts)
    if room is not None and choices[0][2] > room.beside_weights:
        while choices[-1][0].max_batch_size > 1:
            smaller = replace(runtime, max_batch_size=choices[-1][0].max_batch_size // 2)
            choices.append((smaller, *plan(smaller)))
        limits = (room.beside_weights, room.at_most, min(needed for _, _, needed in choices))
        choices = [choice for limit in limits for choice in choices if choice[2] <= limit]
        _log.info("computes at most %d at once, as memory allows", choices[0][0].max_batch_size)
    runtime, planned, needed = choices[0]
    runtime.reserve(needed, parts)
    return replace(runtime, reserved=needed, parts=parts), planned


def in_groups(
    runtime: Runtime, groups: Sequence[Group], compute: Callable[[Group, int, int], Result]
) -> Iterator[Result]:
    """Computes groups of rows in order, and yields their results; after memory ran out, in halves of them.

    A single row is tried once more, with twice the memory reserved.

    Args:
        runtime: the model, as `fit` returned it.
        groups: all rows of the run.
        compute: takes a group, its number and the number of groups. It may be called again for rows that it
            could not finish.

    Raises:
        torch.OutOfMemoryError: if there is no memory for a single row.
    """
    pending, done, retried = list(groups), 0, False
    while pending:
        group = pending[0]
        try:
            result = compute(group, done, done + len(pending))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if retried:
                raise torch.OutOfMemoryError(_too_little(runtime)) from error
        else:
            del pending[0]
            done += 1
            yield result
            del result  # before the next group allocates its own
            continue
        # Only here has the error let go of the tensors in its frames.
        retried = len(group.rows) == 1
        pending = [half for each in pending for half in each.halves()]
        _log.warning(
            "out of memory on %s with %d at once; continues with %d",
            runtime.device,
            len(group.rows),
            len(pending[0].rows),
        )
        _free_all(runtime, twice=retried)


def _free_all(runtime: Runtime, twice: bool) -> None:
    """Has PyTorch and the host free what they can of the memory that a run reserved, or of twice as much."""
    gc.collect()
    empty_cache(runtime.device)
    if runtime.reserved:  # not a preview, which has reserved nothing
        runtime.reserve(runtime.reserved * (2 if twice else 1), runtime.parts)


def _too_little(runtime: Runtime) -> str:
    room = runtime.room(runtime.device, runtime.parts)
    needed = f"about {runtime.reserved / 2**30:.2f} GiB" if runtime.reserved else "enough"
    free = "less" if room is None else f"{room.at_most / 2**30:.2f} GiB"
    return (
        f"memory of {runtime.device} must hold {needed} beside the model for one image or answer at a time, "
        f"got {free}; close other programs that use it, load the model in int8 or int4, or use a shorter "
        "prompt"
    )
