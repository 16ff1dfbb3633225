"""Random noise of several streams, drawn on the CPU; for other devices, in a thread beside their work."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from ..models.devices import pins_memory


class NoiseStreams:
    """Exponential noise of one CPU generator per sequence, kept until its token is decided.

    A GPU computes while the host draws noise, which for 8 sequences of Janus-Pro takes milliseconds. A thread
    therefore draws the noise of one more token. The calls of a generator are the same, in the same order.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators
        self._kept: list[list[Tensor]] = [[] for _ in generators]  # [V] of the next tokens
        self._ahead: Future[Tensor] | None = None  # [B, V] of the token after those

    def next(self, count: int, size: int, device: torch.device) -> Tensor:
        """Noise [B * count, V] of the next tokens of every sequence, V being `size`, until `settle`."""
        was_empty = not any(self._kept)
        everyone = list(range(len(self._generators)))
        blocks = []
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            blocks.append(self._keep(ahead.result(), everyone, device))
        missing = [index for index in everyone for _ in range(count - len(self._kept[index]))]
        if missing:
            blocks.append(
                self._keep(self._fill(_buffer(len(missing), size, device), missing), missing, device)
            )
        if device.type != "cpu" and count == 1:  # with guesses, it is not known how many will be decided
            self._ahead = _thread().submit(self._fill, _buffer(len(everyone), size, device), everyone)
        if was_empty and len(blocks) == 1:  # as always in plain drawing: no copy
            return blocks[0]
        return torch.stack([values for noise in self._kept for values in noise[:count]])

    def settle(self, counts: Sequence[int]) -> None:
        """Drops the noise of this many tokens of each sequence, which are decided."""
        for noise, count in zip(self._kept, counts, strict=True):
            del noise[:count]

    def _fill(self, buffer: Tensor, indices: Sequence[int]) -> Tensor:
        """Draws a row for each of some sequences."""
        # Each thread has its own mode, and tensors of inference mode may only be changed in it.
        with torch.inference_mode(buffer.is_inference()):
            for values, index in zip(buffer, indices, strict=True):
                values.exponential_(generator=self._generators[index])
        return buffer

    def _keep(self, drawn: Tensor, indices: Sequence[int], device: torch.device) -> Tensor:
        moved = drawn.to(device, non_blocking=pins_memory(device.type))
        for values, index in zip(moved, indices, strict=True):
            self._kept[index].append(values)
        return moved


def _buffer(count: int, size: int, device: torch.device) -> Tensor:
    # Explicit device and dtype, because a host may have changed torch's defaults; pinned, so that the copy to
    # the GPU is asynchronous.
    pinned = pins_memory(device.type)
    return torch.empty((count, size), device="cpu", dtype=torch.float32, pin_memory=pinned)


@cache
def _thread() -> ThreadPoolExecutor:
    """One thread for all runs. A run that is cancelled leaves it the noise of one token to draw."""
    return ThreadPoolExecutor(1, thread_name_prefix="janus-noise")
