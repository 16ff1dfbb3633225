"""Attention: the kernel of few queries for CPUs equals PyTorch's attention, and runs where it should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from janus_nodes.janus_core.models import attention
from janus_nodes.janus_core.models.attention import attend
from janus_nodes.janus_core.models.cpu import few_query_attention
from torch import Tensor

SIZE = 16

pytestmark = pytest.mark.usefixtures("no_grad")
needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="needs MKL's kernels")


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records which kernel each call runs."""
    taken: list[str] = []

    def note(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            taken.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, noted)

    note(attention, "attend_few_queries")
    note(F, "scaled_dot_product_attention")
    return taken


def states(batch: int, heads: int, slots: int, layout: str = "cache", seed: int = 0) -> Tensor:
    """Random keys or values [B, G, S, D]: a slice of a cache, a slice of a projection, or transposed."""
    generator = torch.Generator().manual_seed(seed)
    if layout == "cache":
        return torch.randn(3, batch, heads, slots + 5, SIZE, generator=generator)[1, :, :, :slots]
    if layout == "projection":
        wide = torch.randn(batch, slots, heads + 2, SIZE, generator=generator)
        return wide.transpose(1, 2)[:, 2:]
    return torch.randn(batch, heads, SIZE, slots, generator=generator).mT


@needs_mkl
@pytest.mark.parametrize("layout", ["cache", "projection", "transposed"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("batch", "slots"), [(1, 1), (1, 33), (3, 1), (3, 33)])
@pytest.mark.parametrize("masked", [None, "shared mask", "mask per sequence"])
@pytest.mark.parametrize("count", [1, 3])
def test_attention_of_few_queries_equals_pytorchs(
    layout: str, groups: int, batch: int, slots: int, masked: str | None, count: int, kernels: list[str]
) -> None:
    if masked is None:
        count = 1
    query, key = states(batch, 4, count, "projection", seed=1), states(batch, groups, slots, seed=2)
    value = states(batch, groups, slots, layout, seed=3)
    mask = None
    if masked is not None:
        num_masks = 1 if masked == "shared mask" else batch
        mask = torch.rand(num_masks, 1, count, slots, generator=torch.Generator().manual_seed(slots)) < 0.6
        mask[..., -1] = True
    attended = attend(query, key, value, mask, exact=True)
    assert kernels == ["scaled_dot_product_attention" if layout == "transposed" else "attend_few_queries"]
    expected = F.scaled_dot_product_attention(
        query.double(), key.double(), value.double(), attn_mask=mask, enable_gqa=groups != 4
    )
    assert attended.shape == expected.shape and attended.dtype == torch.float32
    torch.testing.assert_close(attended.double(), expected, rtol=0, atol=1e-5)


@needs_mkl
def test_unused_slots_may_hold_anything(kernels: list[str]) -> None:
    cache = torch.full((2, 2, 4, 12, SIZE), torch.nan)
    cache[..., :7, :] = 1.0
    keys, values = cache[..., :7, :]
    attended = attend(states(2, 4, 1), keys, values, None, exact=True)
    assert kernels == ["attend_few_queries"]
    torch.testing.assert_close(attended, torch.ones(2, 4, 1, SIZE), rtol=0, atol=1e-6)


@needs_mkl
@pytest.mark.parametrize("batch", [1, 4])
def test_otherwise_the_kernel_takes_one_query_of_enough_slots_whatever_the_batch(
    batch: int, kernels: list[str]
) -> None:
    enough = attention._MIN_KEY_ELEMENTS // (4 * SIZE)
    for slots, count in ((enough - 1, 1), (enough, 1), (enough, 2)):
        keys, visible = states(batch, 4, slots), torch.ones(1, 1, count, slots, dtype=torch.bool)
        attend(states(batch, 4, count), keys, keys, visible)
    assert kernels == ["scaled_dot_product_attention", "attend_few_queries", "scaled_dot_product_attention"]


@needs_mkl
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2)])
def test_few_columns_are_padded_for_an_exact_result(
    heads: int, groups: int, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_query_attention, "_fewest_columns", lambda: 12)
    query, keys, values = states(2, heads, 3), states(2, groups, 40, seed=1), states(2, groups, 40, seed=2)
    mask = torch.ones(1, 1, 3, 40, dtype=torch.bool)
    if masked:
        mask = torch.rand(2, 1, 3, 40, generator=torch.Generator().manual_seed(0)) < 0.6
    padded = attend(query, keys, values, mask, exact=True)
    expected = F.scaled_dot_product_attention(query, keys, values, mask, enable_gqa=groups != heads)
    torch.testing.assert_close(padded, expected, rtol=0, atol=1e-6)


@needs_mkl
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2)])
@pytest.mark.parametrize("first", [1, 11, 41])
def test_a_query_depends_neither_on_other_queries_nor_on_later_slots(
    heads: int, groups: int, first: int
) -> None:
    end = first + 19
    query, keys, values = states(2, heads, 20), states(2, groups, end, seed=1), states(2, groups, end, seed=2)
    visible = (torch.arange(end) < torch.arange(first, end + 1)[:, None])[None, None]
    together = attend(query, keys, values, visible, exact=True)
    for place, slots in enumerate(range(first, end + 1)):
        one = query[:, :, place : place + 1]
        alone = attend(one, keys[:, :, :slots], values[:, :, :slots], None, exact=True)
        assert torch.equal(alone, together[:, :, place : place + 1])
        some = slice(max(place - 2, 0), place + 1)
        mask = visible[:, :, some, :slots]
        beside = attend(query[:, :, some], keys[:, :, :slots], values[:, :, :slots], mask, exact=True)
        assert torch.equal(beside[:, :, -1:], alone)


def test_prompts_other_dtypes_and_gradients_run_pytorchs_attention(kernels: list[str]) -> None:
    query, keys = states(2, 4, 3), states(2, 4, 3)
    attend(query, keys, keys, None, exact=True)
    attend(query[:, :, :1].bfloat16(), keys.bfloat16(), keys.bfloat16(), None, exact=True)
    with torch.enable_grad():
        one = query[:, :, :1].clone().requires_grad_()
        attend(one, keys, keys, None, exact=True).sum().backward()
    assert one.grad is not None
    assert kernels == ["scaled_dot_product_attention"] * 3
