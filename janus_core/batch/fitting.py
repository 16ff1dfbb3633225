"""The largest batch that fits into the free memory, by the pipeline's own estimate."""

from __future__ import annotations

from collections.abc import Callable

from ..models.parts import Parts
from ..pipeline.device_memory import free_bytes
from ..pipeline.pipeline import JanusPipeline
from ..pipeline.rows import most_rows

# Rows at once, relative to what a pipeline computes by itself: nobody waits for the first of them.
_MORE = 2
_UNKNOWN = 8  # where the free memory is not known
# What other programs, the allocator and the images that are read ahead may take.
_SHARE = {"cpu": 0.5}
_SHARE_ELSEWHERE = 0.85


class _Measured(Exception):  # noqa: N818  # it says that all is well
    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes


def fitting_batch_size(pipeline: JanusPipeline, run: Callable[[int], object], workers_here: int = 1) -> int:
    """A power of two.

    Args:
        pipeline: the model; its batch size and callback are left as they were.
        run: runs the work for that many rows; it is stopped before it computes anything.
        workers_here: processes that share the memory of a CPU.
    """
    kind = pipeline.device.type
    largest = _MORE * most_rows(pipeline.device)
    free = free_bytes(pipeline.device)
    if free is None:
        return min(_UNKNOWN, largest)
    free = int(free * _SHARE.get(kind, _SHARE_ELSEWHERE)) // (workers_here if kind == "cpu" else 1)
    size = largest
    while size > 1 and needed_bytes(pipeline, run, size) > free:
        size //= 2
    return size


def needed_bytes(pipeline: JanusPipeline, run: Callable[[int], object], size: int) -> int:
    """Working memory of `run(size)`, computed together."""

    def measure(num_bytes: int, parts: Parts) -> None:
        raise _Measured(num_bytes)

    before = pipeline.reserve, pipeline.max_batch_size, pipeline.room
    pipeline.reserve, pipeline.max_batch_size, pipeline.room = measure, size, lambda device, parts: None
    try:
        run(size)
    except _Measured as measured:
        return measured.num_bytes
    finally:
        pipeline.reserve, pipeline.max_batch_size, pipeline.room = before
    raise RuntimeError("run must reserve memory, got none; call the pipeline in it")
