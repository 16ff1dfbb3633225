"""Attention: one token's on a CPU, which has a way of its own, is PyTorch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from janus_nodes.janus_core.models import attention
from janus_nodes.janus_core.models.attention import attend
from torch import Tensor

SIZE = 16


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of many slots, for the few of a test."""
    monkeypatch.setattr(attention, "_MANY_NUMBERS", 0)


def states(batch: int, heads: int, slots: int, layout: str = "cache") -> Tensor:
    """Random keys or values [B, G, S, D]: a part of a cache, of a projection's output, or turned."""
    generator = torch.Generator().manual_seed(100 * heads + slots)
    if layout == "cache":
        return torch.randn(3, batch, heads, slots + 5, SIZE, generator=generator)[1, :, :, :slots]
    if layout == "projection":
        wide = torch.randn(batch, slots, heads + 2, SIZE, generator=generator)
        return wide.transpose(1, 2)[:, 2:]
    return torch.randn(batch, heads, SIZE, slots, generator=generator).mT


@pytest.mark.parametrize("layout", ["cache", "projection", "turned"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("batch", "slots"), [(1, 1), (1, 33), (3, 1), (3, 33)])
@pytest.mark.parametrize("masked", [None, "one for all rows", "one for each row"])
def test_one_token_s_attention_is_pytorch_s(
    layout: str, groups: int, batch: int, slots: int, masked: str | None
) -> None:
    query = states(batch, 4, 1, "projection")
    key, value = states(batch, groups, slots), states(batch, groups, slots, layout) + 1
    mask = None
    if masked is not None:
        rows = 1 if masked == "one for all rows" else batch
        mask = torch.rand(rows, 1, 1, slots, generator=torch.Generator().manual_seed(slots)) < 0.6
        mask[..., -1] = True
    expected = F.scaled_dot_product_attention(
        query.double(), key.double(), value.double(), attn_mask=mask, enable_gqa=groups != 4
    )
    attended = attend(query, key, value, mask)
    assert attended.shape == expected.shape and attended.dtype == torch.float32
    torch.testing.assert_close(attended.double(), expected, rtol=0, atol=1e-5)


def test_slots_that_are_not_read_may_hold_anything() -> None:
    cache = torch.full((2, 2, 4, 12, SIZE), torch.nan)
    cache[..., :7, :] = 1.0
    keys, values = cache[..., :7, :]
    attended = attend(states(2, 4, 1), keys, values, None)
    torch.testing.assert_close(attended, torch.ones(2, 4, 1, SIZE), rtol=0, atol=1e-6)


def test_one_token_s_attention_has_gradients() -> None:
    found = []
    for dtype in (torch.float32, torch.float64):  # the second is PyTorch's own way
        inputs = [states(2, heads, slots).to(dtype) for heads, slots in ((4, 1), (2, 9), (2, 9))]
        query, key, value = (tensor.clone().requires_grad_() for tensor in inputs)
        attend(query, key, value, None).square().sum().backward()
        found.append([tensor.grad for tensor in (query, key, value)])
    for ours, expected in zip(*found, strict=True):
        assert ours is not None and expected is not None
        torch.testing.assert_close(ours.double(), expected.double(), rtol=0, atol=1e-4)
