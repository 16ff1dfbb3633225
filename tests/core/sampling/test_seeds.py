"""Random streams depend on seed and index only, not on the batch or torch's defaults."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import FlowSampling, JanusPipeline, TextSampling, TokenSampling
from janus_nodes.janus_core.models.cpu import few_query_attention
from janus_nodes.janus_core.sampling.logits import TokenSampler
from janus_nodes.janus_core.sampling.seeds import seeded_generator
from support.sampling import published

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture
def bf16_by_default() -> Iterator[None]:
    """A host that has changed torch's default dtype."""
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


def test_each_index_has_the_stream_of_seed_plus_index() -> None:
    for seed, row, same in ((5, 3, 8), (2**64 - 1, 0, 2**64 - 1), (2**64 - 1, 1, 0), (2**64 - 2, 5, 3)):
        expected = torch.randn(4, generator=torch.Generator().manual_seed(same))
        assert torch.equal(torch.randn(4, generator=seeded_generator(seed, row)), expected)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32])
def test_integers_of_numpy_are_seeds(flow_pipe: JanusPipeline, kind: type) -> None:
    assert seeded_generator(kind(7), 1).initial_seed() == 8
    TokenSampler(TextSampling(temperature=1.0, seed=kind(7)), [0, 1]).draw(torch.zeros(2, 9))
    options = FlowSampling(num_steps=kind(1), seed=kind(7), batch_size=kind(2))
    drawn = flow_pipe.generate("A cat", options, pixels=False).latents
    expected = flow_pipe.generate("A cat", FlowSampling(num_steps=1, seed=7, batch_size=2), pixels=False)
    assert torch.equal(drawn, expected.latents)


def test_tokens_do_not_depend_on_the_default_dtype(bf16_by_default: None) -> None:
    logits = torch.randn(2, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    drawn = TokenSampler(published(TokenSampling(seed=3)), [0, 1]).draw(logits)
    torch.set_default_dtype(torch.float32)
    assert torch.equal(TokenSampler(published(TokenSampling(seed=3)), [0, 1]).draw(logits), drawn)


def test_a_flow_does_not_depend_on_the_default_dtype(flow_pipe: JanusPipeline, bf16_by_default: None) -> None:
    options = FlowSampling(num_steps=3, seed=2)
    drawn = flow_pipe.generate("A cat", options, pixels=False).latents
    torch.set_default_dtype(torch.float32)
    assert drawn.dtype is torch.float32
    assert torch.equal(flow_pipe.generate("A cat", options, pixels=False).latents, drawn)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="needs MKL's kernels")
def test_the_exact_attention_depends_on_no_default(bf16_by_default: None) -> None:
    few_query_attention._fewest_columns.cache_clear()
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
        found = few_query_attention._fewest_columns()
    torch.set_default_dtype(torch.float32)
    few_query_attention._fewest_columns.cache_clear()
    assert few_query_attention._fewest_columns() == found


def test_random_numbers_are_drawn_on_the_cpu_whatever_the_default_device() -> None:
    logits = torch.zeros(1, 9)
    with torch.device("meta"):
        drawn = TokenSampler(published(TokenSampling(seed=3)), [0]).draw(logits)
    assert drawn.device.type == "cpu"
