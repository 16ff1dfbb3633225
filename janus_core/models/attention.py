"""Attention of new tokens to all that they may read (arXiv:1706.03762, section 3.2.1)."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Keys of fewer numbers than this are in the processor's caches, and PyTorch's attention has fewer calls.
_MANY_NUMBERS = 2**18


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """For each new token, the mean of the values, weighted by how well their keys fit its query.

    Args:
        query: [B, H, T, D].
        key: [B, G, S, D], the last T of them the new tokens' own; H is a multiple of G.
        value: [B, G, S, D].
        mask: [B or 1, 1, T, S] bool: True where new token t may read slot s. None: what causality allows, for
            one new token or for T = S of them.

    Returns:
        [B, H, T, D].
    """
    one, on_cpu = query.shape[2] == 1, query.device.type == "cpu"
    many = one and on_cpu and key.numel() >= _MANY_NUMBERS
    if many and query.dtype is torch.float32 and _in_rows(value):
        return _attend_one(query, key, value, mask)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None and not one,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _attend_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of one token, on a CPU.

    PyTorch's own multiplies matrices, which for a single query reads keys and values at half the memory's
    rate. What reads them at all of it: products with a vector that is laid out as a row, and sums of weighted
    rows of a table.
    """
    batch, heads, _, size = query.shape
    groups, slots = key.shape[1:3]
    columns = query.reshape(batch * groups, heads // groups, size).mT
    keys = key.flatten(0, 1)
    scores = torch.baddbmm(query.new_empty(()), keys, columns, beta=0, alpha=size**-0.5)
    if mask is not None:
        scores.view(batch, groups, slots, -1).masked_fill_(~mask.mT, -torch.inf)
    weights = scores.softmax(dim=1).mT.reshape(-1)
    rows, offsets, last = _rows(batch, groups, heads // groups, slots, size, value.stride())
    table = value.as_strided((last + 1, size), (size, 1))
    attended = F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)
    return attended.view(batch, heads, 1, size)


def _in_rows(value: Tensor) -> bool:
    """Whether values [B, G, S, D] lie as rows of one table, as they do in a cache."""
    *others, last = value.stride()
    return last == 1 and all(stride % value.shape[-1] == 0 for stride in others)


@lru_cache(maxsize=1)  # all layers of a step read the same
def _rows(
    batch: int, groups: int, heads_per_group: int, slots: int, size: int, strides: tuple[int, ...]
) -> tuple[Tensor, Tensor, int]:
    """Rows of a table that each head reads [B * H * S], where each head's begin [B * H], and the last row."""
    with torch.inference_mode(False):
        of_batch, of_group, of_slot = (
            torch.arange(count, device="cpu") * (stride // size)
            for count, stride in zip((batch, groups, slots), strides[:3], strict=True)
        )
        rows = (of_batch[:, None, None] + of_group[:, None] + of_slot).flatten(0, 1)
        rows = rows.repeat_interleave(heads_per_group, dim=0)
        offsets = torch.arange(0, rows.numel(), slots, device="cpu")
        return rows.flatten(), offsets, int(rows[-1, -1])
