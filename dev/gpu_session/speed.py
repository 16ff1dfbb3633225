"""Parts that time things: the device itself, steps, and kernels."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from janus_core import JanusPipeline, Precision, TextSampling, TokenSampling, weight_bytes
from janus_core.models.attention import kernel_mask
from janus_core.models.layers import RMSNorm

from ..benchmarks.timing import StepClock, memory_rate, now, per_step
from .models import PROMPT, made_pipeline, models, precisions
from .session import Session

# Outputs and inputs of Janus-Pro-7B's layers: qkv_proj, gate_up_proj, o_proj, down_proj and lm_head.
LAYERS = ((12288, 4096), (22016, 4096), (4096, 4096), (4096, 11008), (102400, 4096))
LAYER = "body.layers.0.mlp.gate_up_proj"  # stands for all of them in a precision's choice
ROWS = (2, 16, 64)  # one and eight images with guidance, and a short prompt
# What a step with 8 images may take, relative to one: keys and values come on top of the weights.
MOST_FOR_EIGHT = 1.6


def machine(session: Session) -> None:
    """The device, its memory bandwidth, and what a launch costs."""
    device = session.device
    session.machine = {"device": _name(device), "torch": torch.__version__}
    if device == "cuda":
        session.machine["allocator"] = torch.cuda.get_allocator_backend()
    session.rate = memory_rate(device, 2**20 if session.is_dry else 2**28)
    session.add("memory bandwidth", session.rate / 1e9, "GB/s")
    numbers, count = torch.zeros(8, device=device), 2000
    start = now(device)
    for _ in range(count):
        numbers.add_(1)
    launched = time.perf_counter() - start
    session.add("launch of a kernel, on the host", 1e6 * launched / count, "µs")
    session.add("a small kernel", 1e6 * (now(device) - start) / count, "µs")


def steps(session: Session) -> None:
    """Steps of image and text tokens, beside the time to read their weights once."""
    for model in models(session):
        for name, precision in precisions(session).items():
            with session.attempting(f"steps of {model} in {name}"):
                _steps(session, f"{model} {name}", made_pipeline(session, model, precision))
            gc.collect()  # before the weights of the next model are made


def _steps(session: Session, label: str, pipe: JanusPipeline) -> None:
    body, generation = pipe.model.body, pipe.model.token_generation
    layers = weight_bytes(body.layers)
    image = session.read_ms(layers + weight_bytes(generation.head) + weight_bytes(generation.aligner))
    text = session.read_ms(layers + weight_bytes(body.lm_head))
    count = 2 if session.is_dry else 40

    def draw(images: int) -> float:
        options = TokenSampling(batch_size=images, lookahead=1)
        return 1e3 * per_step(
            session.device, count, lambda clock: pipe.generate(PROMPT, options, on_step=clock)
        )

    one, eight = draw(1), draw(8)
    session.add(f"{label}, image token", one, "ms", image)
    is_fast = None if session.is_dry else eight <= MOST_FOR_EIGHT * one
    session.add(f"{label}, image token of 8 images", eight, "ms", image, is_fast)
    pipe.prompts.tokenizer.eos_id = -1  # so that no answer ends early
    for name, temperature in (("text token", 0.0), ("text token, sampled", 0.7)):
        options = TextSampling(max_new_tokens=60, temperature=temperature, top_p=0.9 if temperature else 1.0)

        def answer(clock: StepClock, options: TextSampling = options) -> object:
            return pipe.understand(None, PROMPT, options, on_step=clock)

        session.add(f"{label}, {name}", 1e3 * per_step(session.device, count, answer), "ms", text)


def kernels(session: Session) -> None:
    """Linear layers in all precisions, norms, and attention by kind of mask, at the sizes of 7B."""
    chosen = precisions(session)
    dtype = chosen["auto"].compute
    for outputs, inputs in ((256, 128),) if session.is_dry else LAYERS:
        weight = torch.randn(outputs, inputs, device=session.device, dtype=dtype) * 0.02
        for name, precision in chosen.items():
            with session.attempting(f"kernels in {name}"):
                _layer(session, name, precision, weight)
    hidden = torch.randn(2, 1, 4096, device=session.device, dtype=dtype)
    norm = RMSNorm(4096, 1e-6).to(session.device, dtype).requires_grad_(False)
    session.add("RMSNorm", 1e6 * _seconds(session, lambda: norm(hidden)), "µs")
    heads, size = (4, 16) if session.is_dry else (32, 128)
    for rows in ROWS[:2]:
        _attention(session, rows, heads, size, dtype)


def _layer(session: Session, name: str, precision: Precision, weight: Tensor) -> None:
    """Times a linear layer in a precision, for several numbers of rows."""
    kind = precision.layer_class(LAYER, weight.shape[1])
    if kind is None:
        outputs, width = weight.shape
        layer: nn.Module = nn.Linear(width, outputs, bias=False, device="meta")
        layer.weight = nn.Parameter(weight, requires_grad=False)
    else:
        layer = kind(weight, None).requires_grad_(False)
    limit = 1e3 * session.read_ms(weight_bytes(layer))
    for rows in ROWS:
        inputs = torch.randn(rows, weight.shape[1], device=session.device, dtype=weight.dtype)
        found = 1e6 * _seconds(session, partial(layer, inputs))
        session.add(f"{name} {rows} x {weight.shape[1]} to {weight.shape[0]}", found, "µs", limit)


def _attention(session: Session, rows: int, heads: int, size: int, dtype: torch.dtype) -> None:
    slots = 340
    query, key, value = (
        torch.randn(rows, heads, length, size, device=session.device, dtype=dtype)
        for length in (1, slots, slots)
    )
    visible = torch.ones(rows, 1, 1, slots, device=session.device, dtype=torch.bool)
    limit = 1e3 * session.read_ms(2 * key.nbytes)
    for name, mask in (("no", None), ("the kernel's", kernel_mask(visible, dtype)), ("a bool", visible)):
        attend = partial(F.scaled_dot_product_attention, query, key, value, attn_mask=mask)
        found = _seconds(session, attend)
        session.add(f"attention, {rows} rows, {name} mask", 1e6 * found, "µs", limit)


def _seconds(session: Session, work: Callable[[], object]) -> float:
    """Mean time of a kernel: many are launched, since one takes less than a wait for the device."""
    for _ in range(3):
        work()
    count = 2 if session.is_dry else 50
    start = now(session.device)
    for _ in range(count):
        work()
    return (now(session.device) - start) / count


def _name(device: str) -> str:
    module = torch.get_device_module(device)
    return str(module.get_device_name()) if hasattr(module, "get_device_name") else device
