"""What a decode step asks of a CUDA device: kernels, waits of the host, and copies from main memory.

The upper bounds are those of the released depths. A change that needs fewer may lower them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from support.parametrize import slow_except
from support.simulated_cuda import CUDA, simulated_cuda
from support.sizes import released_config, shrunk_config, sized_pipeline
from torch import Tensor

Step = Callable[[int, int, Tensor], None]
Run = Callable[[JanusPipeline, Step], object]

STEPS = (2, 4)  # the counts between these steps are compared


class _StopError(Exception):
    """Ends a run early."""


def draw(pipe: JanusPipeline, on_step: Step) -> object:
    return pipe.generate("A fox.", TokenSampling(batch_size=2), on_step=on_step)


def draw_with_negative_prompt(pipe: JanusPipeline, on_step: Step) -> object:
    return pipe.generate("A fox.", TokenSampling(), negative_prompt="a very long dark night", on_step=on_step)


def answer(pipe: JanusPipeline, on_step: Step) -> object:
    return pipe.understand(None, "What is this?", TextSampling(max_new_tokens=20), on_step=on_step)


def answer_with_sampling(pipe: JanusPipeline, on_step: Step) -> object:
    options = TextSampling(20, temperature=0.7, top_p=0.9, repetition_penalty=1.1)
    return pipe.understand(None, "What is this?", options, on_step=on_step)


# By checkpoint, precision and run: at most so many kernels, waits and copies per step. Noise is copied.
BOUNDS: dict[tuple[str, str], dict[Run, tuple[int, int, int]]] = {
    ("Janus-Pro-1B", "bf16"): {
        draw: (518, 0, 1),
        draw_with_negative_prompt: (501, 0, 1),
        answer: (513, 1, 0),
        answer_with_sampling: (537, 1, 1),
    },
    # Without Triton, of whose kernels each takes one launch, and with layers too small for `_int_mm`.
    ("Janus-Pro-1B", "int8"): {draw: (814, 0, 1), answer: (804, 1, 0)},
    ("Janus-Pro-1B", "int4"): {draw: (1206, 0, 1), answer: (1197, 1, 0)},
    ("Janus-Pro-7B", "bf16"): {draw: (638, 0, 1), answer: (633, 1, 0)},
}


def per_step(pipe: JanusPipeline, run: Run) -> list[float]:
    """Kernels, waits and copies of a step."""
    marks: dict[int, tuple[int, int, int]] = {}

    def on_step(step: int, total: int, state: Tensor) -> None:
        marks[step] = (counts.num_kernels, counts.num_waits, counts.to_device.total())
        if step == STEPS[1]:
            raise _StopError

    with torch.inference_mode(), simulated_cuda() as counts, pytest.raises(_StopError):
        run(pipe, on_step)
    first, last = (marks[step] for step in STEPS)
    return [(after - before) / (STEPS[1] - STEPS[0]) for before, after in zip(first, last, strict=True)]


@pytest.mark.parametrize(("checkpoint", "precision"), slow_except(BOUNDS, ("Janus-Pro-1B", "bf16")))
def test_a_step_stays_within_its_bounds(checkpoint: str, precision: str) -> None:
    config = shrunk_config(checkpoint)  # small layers, but as many as the released one
    depth = released_config(checkpoint).body.num_hidden_layers
    config = replace(config, body=replace(config.body, num_hidden_layers=depth, vocab_size=512))
    pipe = sized_pipeline(config, "cpu", torch.bfloat16, None if precision == "bf16" else precision)
    with simulated_cuda():
        pipe = replace(pipe, model=pipe.model.to("cuda"), device=CUDA)
    for run, limits in BOUNDS[checkpoint, precision].items():
        found = per_step(pipe, run)
        assert all(value <= limit for value, limit in zip(found, limits, strict=True)), (run.__name__, found)
