"""A step that a GPU is told once and then only to repeat: launching its kernels one by one takes longer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.cache import Cache, KVCache, NextSlot

# Slots that are looked at in steps of so many: each of these is recorded once.
_SLOTS = 256

Read = Callable[[Tensor, Tensor, Cache], tuple[Tensor, Tensor]]
Record = Callable[[Callable[[], None], torch.device], Callable[[], None]]
"""Takes a function that works on memory of its own; gives one that does the same to the same memory."""


def cuda_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Records the kernels that a function launches on a CUDA device (a `Record`).

    Raises:
        ValueError: if it is none.
    """
    if device.type != "cuda":
        raise ValueError(f"capture must be False for a model on {device}, got True; only CUDA devices record")
    with torch.cuda.device(device):
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            work()  # kernels are loaded, and their work space is made, before anything is recorded
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
    return graph.replay


class CapturedStep:
    """Reads one token per row as often as it is called, recorded for a range of the cache at a time.

    It lives as long as one run: weights may move before the next one, and their addresses are recorded.
    """

    def __init__(self, read: Read, cache: KVCache, record: Record = cuda_graph) -> None:
        """Records nothing yet.

        Args:
            read: new tokens [B, 1], their positions [R * B, 1] and a cache to hidden states and logits.
            cache: what was read before.
            record: what records.
        """
        self._read, self._cache, self._record = read, cache, record
        self._end = 0

    def __call__(self, tokens: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one more token; what is given back is overwritten by the next call."""
        if self._cache.length >= self._end:
            self._prepare(tokens, position_ids)
        self._tokens.copy_(tokens)
        self._position_ids.copy_(position_ids)
        self._view.slot.fill_(self._cache.length)
        self._replay()
        self._cache.advance(1)
        return self._found

    def _prepare(self, tokens: Tensor, position_ids: Tensor) -> None:
        self._end = min(self._cache.length // _SLOTS * _SLOTS + _SLOTS, self._cache.max_length)
        self._view = NextSlot(self._cache, self._end)
        self._view.slot.fill_(self._cache.length)
        self._tokens, self._position_ids = tokens.clone(), position_ids.clone()

        def work() -> None:
            self._found = self._read(self._tokens, self._position_ids, self._view)

        self._replay = self._record(work, tokens.device)
