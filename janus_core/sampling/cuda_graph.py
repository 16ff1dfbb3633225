"""CUDA-graph capture of the single-token decode step, to avoid the overhead of launching its kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.cache import Cache, KVCache, StaticSlotCache

# The graph attends to the cache up to a multiple of this many slots: each multiple is captured once.
_SLOTS_PER_GRAPH = 256

Step = Callable[[Tensor, Tensor, Cache], tuple[Tensor, Tensor]]
"""Reads tokens [B, 1] at positions [R * B, 1] into a cache; returns hidden states and logits."""

Capture = Callable[[Callable[[], None], torch.device], Callable[[], None]]
"""Captures a function that works on fixed memory; returns one that repeats the work on the same memory."""


def cuda_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Captures the kernels that a function launches (a `Capture`); ValueError if the device is not CUDA."""
    if device.type != "cuda":
        raise ValueError(f"capture must be False for a model on {device}, got True; move it to a CUDA device")
    with torch.cuda.device(device):
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            work()  # warm-up: kernels and their workspaces must be loaded before the capture
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
    return graph.replay


class CapturedStep:
    """A decode step of one token per image that replays a captured graph.

    Make one for each run: a graph holds addresses of weights, which may be moved before the next run.
    """

    def __init__(self, cache: KVCache, capture: Capture = cuda_graph) -> None:
        self._cache, self._capture = cache, capture
        self._end = 0

    def __call__(self, step: Step, tokens: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one more token per image by the same `step` in every call; the next overwrites the result."""
        if self._cache.length >= self._end:
            self._prepare(step, tokens, position_ids)
        self._tokens.copy_(tokens)
        self._position_ids.copy_(position_ids)
        self._view.slot.fill_(self._cache.length)
        self._replay()
        self._cache.advance(1)
        return self._output

    def _prepare(self, step: Step, tokens: Tensor, position_ids: Tensor) -> None:
        """Captures the step for the next range of slots."""
        end = (self._cache.length // _SLOTS_PER_GRAPH + 1) * _SLOTS_PER_GRAPH
        self._end = min(end, self._cache.max_length)
        self._view = StaticSlotCache(self._cache, self._end)
        self._view.slot.fill_(self._cache.length)
        self._tokens, self._position_ids = tokens.clone(), position_ids.clone()

        def work() -> None:
            self._output = step(self._tokens, self._position_ids, self._view)

        self._replay = self._capture(work, tokens.device)
