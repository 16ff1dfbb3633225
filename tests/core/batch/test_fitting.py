"""Batch sizes by the pipeline's own estimate of memory."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling
from janus_nodes.janus_core.batch import fitting
from janus_nodes.janus_core.batch.fitting import fitting_batch_size, free_bytes, needed_bytes


def test_the_largest_batch_that_fits_is_chosen(pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(size: int) -> None:
        pipe.understand(None, ["What?"] * size, TextSampling(max_new_tokens=4))
        raise AssertionError("it is computed")

    before = pipe.reserve, pipe.max_batch_size
    sizes = {size: needed_bytes(pipe, run, size) for size in (1, 2, 4, 8, 16)}
    assert sizes[4] < sizes[8] < sizes[16]
    for size in (4, 8, 16):
        # Half of a CPU's free memory is used, by two workers.
        monkeypatch.setattr(fitting, "free_bytes", lambda device, size=size: 4 * sizes[size] + 4)
        assert fitting_batch_size(pipe, run, workers_here=2) == size
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 0)
    assert fitting_batch_size(pipe, run) == 1
    monkeypatch.setattr(fitting, "free_bytes", lambda device: None)
    assert fitting_batch_size(pipe, run) == 8
    assert (pipe.reserve, pipe.max_batch_size) == before


def test_free_memory_is_known_on_linux() -> None:
    free = free_bytes(torch.device("cpu"))
    assert free is None or 2**20 < free < 2**50
    assert free_bytes(torch.device("meta")) is None
