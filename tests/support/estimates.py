"""Compares the memory that a run reserves with what it takes."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace

import torch
from janus_nodes.janus_core import JanusPipeline, Parts

from .allocations import AllocationCounter, FusedAttention

Run = Callable[[JanusPipeline], object]


class EnoughError(Exception):
    """Ends a run whose peak is behind it."""


def check_estimate(pipe: JanusPipeline, run: Run, most: float, fused: bool = True) -> None:
    """An estimate is no less than what a run takes, and at most `most` times as much."""
    gc.collect()
    attention = FusedAttention() if pipe.device.type == "meta" and fused else contextlib.nullcontext()
    with AllocationCounter(pipe.device.type) as counter, attention, torch.no_grad():
        reserved: list[int] = []
        live: list[int] = []

        def reserve(num_bytes: int, parts: Parts) -> None:
            # What the run has allocated since its first reservation is not free any more.
            live.append(counter.memory.live)
            reserved.append(live[-1] - live[0] + num_bytes)

        with contextlib.suppress(EnoughError):
            run(replace(pipe, reserve=reserve))
    peak = counter.memory.peak
    assert peak <= max(reserved) <= most * peak, max(reserved) / peak
