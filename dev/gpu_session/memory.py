"""The part that compares what runs allocate with what they reserve beforehand."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from janus_core import EditSampling, JanusPipeline, TextSampling, TokenSampling
from janus_core.pipeline.device_memory import empty_cache

from ..benchmarks.timing import TimedEnoughError
from .models import PROMPT, made_pipeline, models, precisions
from .session import Session

MOST = 1.3  # the largest estimate, relative to what is allocated
# Those of libraries, which estimates leave out.
WORKSPACES = 2**26


def memory(session: Session) -> None:
    """Peaks beside the weights, and their estimates."""
    for model in reversed(models(session)):
        for name, precision in precisions(session).items():
            with session.attempting(f"memory of {model} in {name}"):
                _compare(session, f"{model} {name}", made_pipeline(session, model, precision))
            gc.collect()  # before the weights of the next model are made


def _compare(session: Session, label: str, pipe: JanusPipeline) -> None:
    pictures, mask = torch.rand(8, 384, 384, 3), torch.zeros(384, 384)
    mask[100:300, 100:300] = 1
    num_tokens = pipe.model.generation.config.num_tokens

    def generate(images: int) -> Callable[[JanusPipeline], object]:
        def run(pipe: JanusPipeline) -> object:
            with suppress(TimedEnoughError):  # all memory is in use from the first steps on
                pipe.generate(PROMPT, TokenSampling(batch_size=images), on_step=_stop)
            return pipe.decode_tokens(torch.zeros(images, num_tokens, dtype=torch.long))

        return run

    text = TextSampling(max_new_tokens=8)
    runs: dict[str, Callable[[JanusPipeline], object]] = {
        "generate 1": generate(1),
        "generate 8": generate(8),
        "understand 1": lambda pipe: pipe.understand(pictures[:1], PROMPT, text),
        "understand 8": lambda pipe: pipe.understand(pictures, PROMPT, text),
        "score 8": lambda pipe: pipe.score(pictures, PROMPT),
        "inpaint": lambda pipe: pipe.edit(pictures[0], PROMPT, EditSampling(), mask=mask, on_step=_stop),
        "edit as Janus-4o": lambda pipe: pipe.edit(
            pictures[0], PROMPT, EditSampling(), form="janus-4o", on_step=_stop
        ),
        "decode 1": lambda pipe: pipe.decode_tokens(torch.zeros(1, num_tokens, dtype=torch.long)),
        "encode 8": lambda pipe: pipe.encode_vision(pictures),
    }
    with suppress(TimedEnoughError):  # libraries allocate their workspaces
        pipe.generate(PROMPT, TokenSampling(), on_step=_stop)
    for name, run in runs.items():
        with session.attempting(f"memory of {label}, {name}"):
            _compare_run(session, f"{label}, {name}", pipe, run)


def _compare_run(
    session: Session, name: str, pipe: JanusPipeline, run: Callable[[JanusPipeline], object]
) -> None:
    reserved: list[int] = []
    gc.collect()
    empty_cache(pipe.device)
    meter = torch.get_device_module(session.device)
    counts = hasattr(meter, "max_memory_allocated")
    if counts:
        meter.reset_peak_memory_stats()
        before = meter.memory_allocated()
    with suppress(TimedEnoughError):
        run(replace(pipe, reserve=lambda num_bytes, parts: reserved.append(num_bytes)))
    estimate = max(reserved)
    if not counts:
        session.add(f"{name}: estimate alone", estimate / 1e6, "MB")
        return
    peak = meter.max_memory_allocated() - before
    fits = peak - WORKSPACES <= estimate <= MOST * peak + WORKSPACES
    session.add(name, peak / 1e6, "MB", estimate / 1e6, fits)


def _stop(step: int, total: int, state: Tensor) -> None:
    if step >= 3:
        raise TimedEnoughError
