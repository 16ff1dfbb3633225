"""The cache: rewinding and repeating it gives what reading the same tokens anew gives."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.models.llama import Llama
from support.checkpoints import randomize, small_config
from torch import Tensor


@pytest.fixture(scope="module")
def body() -> Llama:
    """A random body."""
    llama = Llama(small_config(heads=4, kv_heads=2).body)
    randomize(llama, seed=8)
    return llama.eval().requires_grad_(False)


def rows(body: Llama, batch_size: int, length: int, seed: int) -> Tensor:
    """Random inputs of the body."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, length, body.config.hidden_size, generator=generator)


def positions(batch_size: int, start: int, end: int) -> Tensor:
    """Consecutive positions."""
    return torch.arange(start, end).repeat(batch_size, 1)


def cache_for(body: Llama, batch_size: int, length: int, visible: Tensor | None = None) -> KVCache:
    """A cache whose unread slots hold NaN, so that reading one shows."""
    cache = KVCache(body.config, batch_size, length, "cpu", torch.float32, visible)
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.nan)
    return cache


def test_rewound_cache_forgets_what_came_after(body: Llama) -> None:
    prompt, first, second = (rows(body, 2, length, seed) for seed, length in enumerate((6, 4, 3)))
    expected = body(torch.cat((prompt, second), dim=1), positions(2, 0, 9), cache_for(body, 2, 9))[:, 6:]
    cache = cache_for(body, 2, 12)
    body(prompt, positions(2, 0, 6), cache)
    for _ in range(2):
        body(first, positions(2, 6, 10), cache)
        assert cache.length == 10
        cache.rewind(6)
        output = body(second, positions(2, 6, 9), cache)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
        cache.rewind(6)


@pytest.mark.parametrize("length", [-1, 7])
def test_rewinding_ahead_is_an_error(body: Llama, length: int) -> None:
    cache = cache_for(body, 1, 10)
    body(rows(body, 1, 6, 0), positions(1, 0, 6), cache)
    expected = f"length must be between 0 and the 6 filled slots, got {length}"
    with pytest.raises(ValueError, match=expected):
        cache.rewind(length)


@pytest.mark.parametrize("padded", [False, True])
def test_repeated_cache_equals_repeated_rows(body: Llama, padded: bool) -> None:
    prompt, more = rows(body, 2, 5, 1), rows(body, 6, 4, 2)
    visible = None
    if padded:
        visible = torch.tensor([[True] * 5, [False, False, True, True, True]])
    whole = torch.cat((prompt.repeat_interleave(3, dim=0), more), dim=1)
    whole_visible = None if visible is None else visible.repeat_interleave(3, dim=0)
    expected = body(whole, positions(6, 0, 9), cache_for(body, 6, 9, whole_visible))[:, 5:]
    small = cache_for(body, 2, 5, visible)
    body(prompt, positions(2, 0, 5), small)
    cache = small.repeat(3, 9)
    assert (cache.length, cache.max_length) == (5, 9)
    torch.testing.assert_close(body(more, positions(6, 5, 9), cache), expected, rtol=0, atol=1e-5)


def test_announced_size_is_the_real_one(body: Llama) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        cache = KVCache(body.config, 3, 17, "cpu", dtype)
        assert KVCache.num_bytes(body.config, 3, 17, dtype) == cache.keys.nbytes + cache.values.nbytes
