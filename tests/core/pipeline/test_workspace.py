"""Memory is reserved once per run, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, TextSampling, TokenSampling
from support.drawing import counted_images, traced
from torch import Tensor

IMAGES = torch.full((2, 20, 30, 3), 0.5)
MASK = torch.ones(20, 30)
SHORT = TextSampling(max_new_tokens=2)

RUNS: dict[str, Callable[[JanusPipeline], object]] = {
    "understand": lambda pipe: pipe.understand(IMAGES, "What?", SHORT),
    "converse": lambda pipe: pipe.converse(IMAGES, "What?", SHORT),
    "chat": lambda pipe: pipe.chat("What?", IMAGES[:1], options=SHORT),
    "score": lambda pipe: pipe.score(IMAGES, "A cat."),
    "choose": lambda pipe: pipe.choose(IMAGES, "What?", ["A cat", "A dog"]),
    "generate": lambda pipe: pipe.generate("A cat.", TokenSampling(batch_size=2)),
    "edit": lambda pipe: pipe.edit(IMAGES[0], "Make it night.", form="janus-4o"),
    "inpaint": lambda pipe: pipe.edit(IMAGES[0], "Night.", EditSampling(), mask=MASK),
    "encode_vision": lambda pipe: pipe.encode_vision(IMAGES),
    "encode_tokens": lambda pipe: pipe.encode_tokens(IMAGES),
    "decode_tokens": lambda pipe: pipe.decode_tokens(torch.zeros(2, 16, dtype=torch.long)),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reserves_memory_once_before_it_computes(pipe: JanusPipeline, name: str) -> None:
    with traced(pipe.model) as trace, counted_images(pipe) as seen:
        reserved: list[int] = []

        def reserve(num_bytes: int) -> None:
            assert trace.rows == seen == []
            reserved.append(num_bytes)

        RUNS[name](replace(pipe, reserve=reserve))
    assert len(reserved) == 1
    assert reserved[0] > 0


def test_previews_within_a_run_reserve_nothing(pipe: JanusPipeline) -> None:
    reserved: list[int] = []
    own = replace(pipe, reserve=reserved.append)

    def preview(step: int, total: int, tokens: Tensor) -> None:
        own.preview_tokens(tokens[:, : tokens.shape[1] // 4 * 4] if step >= 4 else tokens.new_zeros(1, 4))

    own.generate("A cat.", on_step=preview)
    assert len(reserved) == 1
