"""The part that compares results with those of a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from janus_core import (
    DEMONSTRATION,
    EditSampling,
    JanusPipeline,
    Precision,
    TextSampling,
    TokenSampling,
    load_pipeline,
)

from ..benchmarks.measure import TINY
from .models import drawn_tokens, precisions
from .recorded import OPTIONS, PROMPTS
from .session import Session

ROOT = Path(__file__).resolve().parents[2]
# Tokens that the CPU draws with the demonstration, in the order of `recorded`.
GOLDEN = ROOT / "tests" / "golden" / "janus-shapes" / "recorded.json"
IMAGES = torch.rand(3, 40, 64, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(40, 64)
MASK[5:20, 10:30] = 1
SHORT = TextSampling(max_new_tokens=6)
CALLS: dict[str, Callable[[JanusPipeline], Any]] = {
    "understand": lambda pipe: [
        answer.encode() for answer in pipe.understand(IMAGES, ["What?", "Which colour is it?", "Who?"], SHORT)
    ],
    "generate": lambda pipe: drawn_tokens(
        pipe, "A red fox.", TokenSampling(seed=1, batch_size=3), negative_prompt="a long dark night"
    ).tolist(),
    "inpaint": lambda pipe: pipe.edit(IMAGES[0], "A fox.", EditSampling(seed=2), mask=MASK).tokens.tolist(),
    "edit": lambda pipe: pipe.edit(IMAGES[0], "Now.", EditSampling(seed=2), form="janus-4o").tokens.tolist(),
    "score": lambda pipe: [[round(score, 2) for score in pipe.score(IMAGES, "A fox.").tolist()]],
    "encode": lambda pipe: pipe.encode_tokens(IMAGES).tolist(),
}


def equality(session: Session) -> None:
    """The CPU's results: all of them in fp32, a share of them in the other precisions."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        _compare_with_cpu(session)


def _compare_with_cpu(session: Session) -> None:
    recorded = json.loads(GOLDEN.read_text(encoding="utf-8"))["tokens"]
    pipe = load_pipeline(DEMONSTRATION, session.device, torch.float32)
    chosen = [TokenSampling(**options) for options in OPTIONS[: 1 if session.is_dry else None]]
    drawn = [drawn_tokens(pipe, prompt, options)[0] for options in chosen for prompt in PROMPTS]
    same = equal_share([tokens.tolist() for tokens in drawn], recorded[: len(drawn)])
    session.add("tokens of the demonstration as recorded, fp32", same, "of 1", 1.0, same == 1.0)
    kinds: dict[str, Precision | torch.dtype] = {"fp32": torch.float32, **precisions(session)}
    for name, precision in kinds.items():
        own = precision.compute if isinstance(precision, Precision) else precision
        with session.attempting(f"calls in {name}"):
            on_cpu = load_pipeline(TINY, "cpu", own if session.device != "cpu" else precision)
            on_device = load_pipeline(TINY, session.device, precision)
            shares = {call: equal_share(run(on_device), run(on_cpu)) for call, run in CALLS.items()}
            for call, share in shares.items():
                session.add(f"{call} as on the CPU, {name}", share, "of 1", 1.0, _required(share, name))


def _required(share: float, precision: str) -> bool | None:
    return share == 1.0 if precision == "fp32" else None


def equal_share(found: list[Any], expected: list[Any]) -> float:
    """The share of equal numbers in lists of lists."""
    pairs = [
        pair for one, other in zip(found, expected, strict=True) for pair in zip(one, other, strict=False)
    ]
    lengths = sum(max(len(one), len(other)) for one, other in zip(found, expected, strict=True))
    return sum(one == other for one, other in pairs) / lengths
