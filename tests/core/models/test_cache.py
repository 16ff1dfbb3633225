"""The KV cache: a rewound, repeated or restored cache equals reading the same tokens again."""

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
    cache = KVCache(body.config, batch_size, length, "cpu", torch.float32)
    if visible is not None:
        cache.mark_padding(visible)
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


def test_num_bytes_is_the_real_size(body: Llama) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        cache = KVCache(body.config, 3, 17, "cpu", dtype)
        assert KVCache.num_bytes(body.config, 3, 17, dtype) == cache.keys.nbytes + cache.values.nbytes


@pytest.mark.parametrize("padded", [False, True])
def test_a_saved_sequence_restored_elsewhere_equals_reading_it_again(body: Llama, padded: bool) -> None:
    prompt, more = rows(body, 2, 6, 1), rows(body, 1, 3, 2)
    hidden = 2 if padded else 0
    visible = torch.ones(2, 6, dtype=torch.bool)
    visible[1, :hidden] = False
    cache = cache_for(body, 2, 6, visible if padded else None)
    position_ids = (visible.long().cumsum(dim=1) - 1).clamp(min=0)
    body(prompt, position_ids, cache)
    saved = [cache.saved(1, 0, 4), cache.saved(1, 4, 6)]
    assert [keys.shape[2] for keys, _ in saved] == [4 - hidden, 2]
    restored = cache_for(body, 1, 9)
    for keys, values in saved:
        restored.restore(keys, values)
    assert restored.length == 6 - hidden
    alone = cache_for(body, 1, 9)
    body(prompt[1:, hidden:], positions(1, 0, 6 - hidden), alone)
    new = positions(1, 6 - hidden, 9 - hidden)
    torch.testing.assert_close(body(more, new, restored), body(more, new, alone), rtol=0, atol=1e-5)


def test_a_saved_sequence_does_not_change_with_the_cache(body: Llama) -> None:
    cache = cache_for(body, 1, 6)
    body(rows(body, 1, 6, 0), positions(1, 0, 6), cache)
    keys, values = cache.saved(0, 0, 6)
    expected = keys.clone(), values.clone()
    cache.rewind(0)
    body(rows(body, 1, 6, 1), positions(1, 0, 6), cache)
    assert torch.equal(keys, expected[0])
    assert torch.equal(values, expected[1])


@pytest.mark.parametrize("padded", [False, True])
def test_a_grown_cache_keeps_its_contents_and_takes_padding_later(body: Llama, padded: bool) -> None:
    first, second, third = (rows(body, 2, length, length) for length in (4, 3, 2))
    visible = torch.ones(2, 7, dtype=torch.bool)
    visible[1, 4:5] = not padded
    position_ids = visible.long().cumsum(dim=1) - 1
    cache = cache_for(body, 2, 0)
    cache.reserve(4)
    body(first, position_ids[:, :4], cache)
    cache.reserve(3)
    assert cache.max_length == 4
    cache.reserve(9)
    assert (cache.max_length, cache.length) == (9, 4)
    if padded:
        cache.mark_padding(visible[:, 4:])
    body(second, position_ids[:, 4:], cache)
    new = position_ids[:, -1:] + torch.tensor([1, 2])
    output = body(third, new, cache)
    for row in range(2):
        seen = torch.cat((first[row], second[row][visible[row, 4:]], third[row]))[None]
        alone = cache_for(body, 1, seen.shape[1])
        expected = body(seen, positions(1, 0, seen.shape[1]), alone)[:, -2:]
        torch.testing.assert_close(output[row : row + 1], expected, rtol=0, atol=1e-5)


def test_selected_and_joined_sequences_go_on_as_in_their_own_caches(body: Llama) -> None:
    visible = torch.tensor([[True] * 4, [False, False, True, True], [True] * 4])
    prompt, new = rows(body, 3, 4, 1), rows(body, 4, 2, 2)
    both = cache_for(body, 3, 4, visible)
    body(prompt, positions(3, 0, 4), both)
    plain = cache_for(body, 1, 6)
    body(prompt[:1], positions(1, 0, 4), plain)
    chosen = both.select([1, 2, 1]).beside(plain)
    chosen.reserve(6)
    found = body(new, positions(4, 4, 6), chosen)
    for index, row in enumerate((1, 2, 1, 0)):
        alone = cache_for(body, 1, 6, visible[row : row + 1])
        body(prompt[row : row + 1], positions(1, 0, 4), alone)
        expected = body(new[index : index + 1], positions(1, 4, 6), alone)
        torch.testing.assert_close(found[index : index + 1], expected, rtol=0, atol=1e-5)


def test_hidden_slots_do_not_matter(body: Llama) -> None:
    prompt, new = rows(body, 2, 5, 3), rows(body, 2, 2, 4)
    cache = cache_for(body, 2, 7)
    body(prompt, positions(2, 0, 5), cache)
    cache.hide(torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))
    found = body(new, positions(2, 3, 5), cache)
    short = cache_for(body, 1, 5)
    body(prompt[1:, :3], positions(1, 0, 3), short)
    torch.testing.assert_close(found[1:], body(new[1:], positions(1, 3, 5), short), rtol=0, atol=1e-5)
    assert cache.visible_slots().tolist() == [[True] * 7, [True] * 3 + [False] * 2 + [True] * 2]
