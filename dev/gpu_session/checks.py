"""Parts that look for waits within steps, for memory that stays, and for runs that end without memory."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from janus_core import DEMONSTRATION, JanusPipeline, TextSampling, TokenSampling, load_pipeline
from janus_core.pipeline.device_memory import empty_cache

from ..benchmarks.timing import TimedEnoughError
from .equality import equal_share
from .models import ONE, PROMPT, drawn_tokens, made_pipeline, precisions
from .session import Session

ROOT = Path(__file__).resolve().parents[2]
WAIT_STEPS = (3, 11)  # the waits between these steps are counted
LEFT_BYTES = 2**26  # of a library's workspaces may stay allocated


def waits(session: Session) -> None:
    """How often the host waits for the device in a step, as PyTorch itself says."""
    if session.device != "cuda":
        session.leave_out("waits", f"PyTorch does not tell of those for {session.device}")
        return
    pipe = load_pipeline(DEMONSTRATION, session.device, torch.float32)
    pipe.prompts.tokenizer.eos_id = -1  # so that no answer ends early
    text = TextSampling(max_new_tokens=20)
    runs: dict[str, tuple[float, Callable[[Any], object]]] = {
        "image token": (0, lambda on_step: pipe.generate("a red star", on_step=on_step)),
        "image token, negative prompt": (
            0,
            lambda on_step: pipe.generate(
                "a red star", negative_prompt="three blue circles", on_step=on_step
            ),
        ),
        "text token": (1, lambda on_step: pipe.understand(None, "What?", text, on_step=on_step)),
    }
    for name, (most, run) in runs.items():
        found = _waits_of(run)
        session.add(f"waits in a step, {name}", found, "", most, found <= most)


def _waits_of(run: Callable[[Any], object]) -> float:
    first, last = WAIT_STEPS

    def on_step(step: int, *_: object) -> None:
        if step == first:
            torch.cuda.set_sync_debug_mode("warn")
        if step == last:
            torch.cuda.set_sync_debug_mode("default")
            raise TimedEnoughError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with suppress(TimedEnoughError):
                run(on_step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught) / (last - first)


def eviction(session: Session) -> None:
    """Weights leave the device and come back, and all memory is free after a model is unloaded."""
    _evict(session)
    if session.device != "cuda" or "PYTORCH_CUDA_ALLOC_CONF" in os.environ:
        return
    # ComfyUI chooses this allocator, which has to be set before a process uses the device.
    with TemporaryDirectory() as folder:
        file = Path(folder) / "session.json"
        command = [sys.executable, "-m", "dev.gpu_session", "--device", session.device, "--parts", "eviction"]
        variables = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
        for found in _figures_of([*command, "--json", str(file)], file, variables):
            cells = (found["measured"], found["unit"], found["limit"], found["passed"])
            session.add(f"{found['name']}, cudaMallocAsync", *cells)


def _figures_of(command: list[str], file: Path, variables: dict[str, str]) -> list[dict[str, Any]]:
    """The figures that a session in a process of its own writes to a file.

    Raises:
        RuntimeError: if it did not end as it should; with its last lines.
    """
    finished = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=120
    )
    report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"figures": []}
    figures: list[dict[str, Any]] = report["figures"]
    # A requirement that is not met ends a session with 1, and is a figure to report.
    if finished.returncode and all(figure["passed"] is not False for figure in figures):
        last = "; ".join((finished.stderr or finished.stdout).splitlines()[-3:])
        raise RuntimeError(f"the session in its own process ended with {finished.returncode}: {last}")
    return figures


def _evict(session: Session) -> None:
    options, device = TokenSampling(batch_size=2, seed=5), torch.device(session.device)
    before = _allocated(session)
    pipe = load_pipeline(DEMONSTRATION, session.device, torch.float32)
    expected = drawn_tokens(pipe, "a red star", options)
    pipe.model.to("cpu")
    gc.collect()
    empty_cache(device)
    if not session.is_dry:
        left = _allocated(session) - before
        session.add("left on the device after eviction", left / 1e6, "MB", passed=left < LEFT_BYTES)
    pipe.model.to(device)
    same = bool(drawn_tokens(pipe, "a red star", options).equal(expected))
    session.add("the same tokens after eviction and back", float(same), "of 1", 1.0, same)
    del pipe
    gc.collect()
    empty_cache(device)
    if not session.is_dry:
        left = _allocated(session) - before
        session.add("left on the device after unloading", left / 1e6, "MB", passed=left < LEFT_BYTES)


def _allocated(session: Session) -> int:
    """Bytes that PyTorch holds on the device, those for reuse included."""
    if session.is_dry:
        return 0
    module = torch.get_device_module(session.device)
    held = "driver_allocated_memory" if session.device == "mps" else "memory_reserved"
    return int(getattr(module, held)())


def recovery(session: Session) -> None:
    """A run that runs out of memory goes on with half of the images at once."""
    name, precision = next(iter(precisions(session).items()))
    pipe = made_pipeline(session, ONE, precision)
    options = TokenSampling(batch_size=4, seed=3, lookahead=1)
    expected = drawn_tokens(pipe, PROMPT, options, pixels=False)
    needed: list[int] = []
    pipe = replace(
        pipe, room=lambda device, parts: None, reserve=lambda num_bytes, parts: needed.append(num_bytes)
    )
    with ExitStack() as stack:
        log = stack.enter_context(_logged())
        # 0.7 of what four images need: enough for two of them.
        on_step = stack.enter_context(_limited(session, pipe, needed))
        found = drawn_tokens(pipe, PROMPT, options, pixels=False, on_step=on_step)
    halved = sum("out of memory" in line for line in log)
    session.add("halved after memory ran out", halved, "times", passed=halved > 0)
    # In 16 bits, a smaller batch may round differently.
    same = equal_share(found.tolist(), expected.tolist())
    session.add(f"the same tokens as with enough memory, {name}", same, "of 1", 1.0)


@contextmanager
def _limited(session: Session, pipe: JanusPipeline, needed: list[int]) -> Any:
    """Yields an `on_step` for a run that has too little memory for all of its images at once."""
    if session.device == "cuda":
        gc.collect()
        empty_cache(pipe.device)
        with suppress(TimedEnoughError):
            pipe.generate(PROMPT, TokenSampling(batch_size=4), on_step=_stop)
        empty_cache(pipe.device)
        held = torch.cuda.memory_reserved()
        total = torch.cuda.get_device_properties(pipe.device).total_memory
        torch.cuda.set_per_process_memory_fraction((held + 0.7 * needed[-1]) / total)
        try:
            yield _ignore
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return

    def on_step(step: int, total: int, tokens: torch.Tensor) -> None:
        if len(tokens) > 2:
            raise torch.OutOfMemoryError("out of memory, for the sake of a test")

    yield on_step


def _stop(*_: object) -> None:
    raise TimedEnoughError


def _ignore(*_: object) -> None:
    pass


@contextmanager
def _logged() -> Any:
    """Yields a list that receives the lines that the core logs."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("janus_core")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
