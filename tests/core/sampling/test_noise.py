"""Noise is the same for every device, however it is drawn."""

from __future__ import annotations

import threading

import pytest
import torch
from janus_nodes.janus_core.sampling.noise import NoiseStreams
from janus_nodes.janus_core.sampling.seeds import seeded_generator
from support.cuda_tensor import CUDA
from support.simulated_cuda import on_cpu, simulated_cuda
from torch import Tensor

CPU = torch.device("cpu")
# How many tokens are asked for, and how many of these each sequence uses up: plainly, and with guesses.
PLAIN = [(1, [1, 1])] * 4
GUESSES = [(1, [1, 1]), (3, [2, 1]), (3, [3, 1]), (1, [1, 1]), (1, [0, 1]), (1, [1, 1])]


def streams() -> NoiseStreams:
    return NoiseStreams([seeded_generator(7, index) for index in range(2)])


def drawn(device: torch.device, steps: list[tuple[int, list[int]]]) -> list[Tensor]:
    noise, found = streams(), []
    for count, used in steps:
        found.append(on_cpu(noise.next(count, 5, device)).clone())
        noise.settle(used)
    return found


@pytest.mark.parametrize("steps", [PLAIN, GUESSES])
@pytest.mark.parametrize("inference", [True, False])
def test_noise_drawn_ahead_is_the_same(steps: list[tuple[int, list[int]]], inference: bool) -> None:
    expected = drawn(CPU, steps)
    with torch.inference_mode(inference), simulated_cuda():
        found = drawn(CUDA, steps)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    generator = seeded_generator(7, 0)
    assert torch.equal(expected[0][0], torch.empty(5).exponential_(generator=generator))


def test_runs_share_one_thread_and_leave_nothing_to_each_other() -> None:
    with torch.inference_mode(), simulated_cuda():
        first = [streams() for _ in range(5)]
        for noise in first:
            noise.next(1, 5, CUDA)  # and never again, as in a run that is cancelled
        del first
        again = on_cpu(streams().next(1, 5, CUDA))
    assert torch.equal(again, streams().next(1, 5, CPU))
    assert sum(thread.name.startswith("janus-noise") for thread in threading.enumerate()) == 1


def test_a_cpu_draws_nothing_ahead_and_an_error_of_the_thread_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = streams()
    noise.next(1, 5, CPU)
    assert noise._ahead is None
    noise.settle([1, 1])
    with torch.inference_mode(), simulated_cuda():
        noise.next(1, 5, CUDA)
        assert noise._ahead is not None
        noise._ahead.result()
        noise.settle([1, 1])

        def fail(*_: object) -> Tensor:
            raise MemoryError("no main memory")

        monkeypatch.setattr(noise, "_fill", fail)
        noise.next(1, 5, CUDA)  # what was drawn before
        noise.settle([1, 1])
        with pytest.raises(MemoryError, match="no main memory"):
            noise.next(1, 5, CUDA)
