"""Attention of new tokens to all that they may read (arXiv:1706.03762, section 3.2.1)."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Below so many numbers in a row's keys, the calls of `_attend_one` cost more than they save.
_MANY_NUMBERS = 2**17


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """For each new token, the mean of the values, weighted by how well their keys fit its query.

    Args:
        query: [B, H, T, D].
        key: [B, G, S, D] of G key-value heads, the last T slots the new tokens' own; H is a multiple of G.
        value: [B, G, S, D].
        mask: [B or 1, 1, T, S] bool: True where new token t may read slot s, at least one for each. None:
            what causality allows, for one new token or for T = S of them.

    Returns:
        [B, H, T, D].
    """
    if _is_worth_rows(query, key, value):
        return _attend_one(query, key, value, mask)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None and query.shape[2] > 1,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _is_worth_rows(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether `_attend_one` applies and takes less time: as measured on x86, in the float32 of such CPUs."""
    *strides, last = value.stride()
    return (
        query.shape[2] == 1
        and query.device.type == "cpu"
        and query.dtype is torch.float32
        and key[0].numel() >= _MANY_NUMBERS
        and last == 1
        and all(stride % value.shape[-1] == 0 for stride in strides)  # rows of one table, as in a cache
        and torch.backends.mkl.is_available()
        and not torch.is_grad_enabled()  # older releases have no gradient of weights of rows that have none
    )


def _attend_one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of one token, on a CPU.

    PyTorch's own multiplies matrices, which for a single query reads keys and values at half of what memory
    gives. These two are as fast as it: products with a vector that is laid out as a row, and sums of weighted
    rows of a table.
    """
    batch, heads, _, size = query.shape
    groups, slots = key.shape[1:3]
    columns = query.reshape(batch * groups, heads // groups, size).mT
    scores = torch.bmm(key.flatten(0, 1), columns * size**-0.5)  # [B * G, S, H / G]
    if mask is not None:
        scores.view(batch, groups, slots, -1).masked_fill_(~mask.mT, -torch.inf)
    weights = scores.softmax(dim=1).mT.reshape(-1)
    rows, offsets, num_rows = _rows(batch, groups, heads // groups, slots, size, value.stride())
    table = value.as_strided((num_rows, size), (size, 1))
    attended = F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)
    return attended.view(batch, heads, 1, size)


@lru_cache(maxsize=1)  # the same for all layers of a step, and a few megabytes at most
def _rows(
    batch: int, groups: int, heads_per_group: int, slots: int, size: int, strides: tuple[int, ...]
) -> tuple[Tensor, Tensor, int]:
    """Which rows of a table hold values [B, G, S, D] of these strides.

    Returns:
        [B * H * S] the rows that each head reads; [B * H] where each head's begin; and how many rows there
        are up to the last of these.
    """
    counts, steps = (batch, groups, slots), [stride // size for stride in strides[:3]]
    of_batch, of_group, of_slot = (
        torch.arange(count, device="cpu") * step for count, step in zip(counts, steps, strict=True)
    )
    rows = (of_batch[:, None, None] + of_group[:, None] + of_slot).flatten(0, 1)
    rows = rows.repeat_interleave(heads_per_group, dim=0).flatten()
    offsets = torch.arange(0, len(rows), slots, device="cpu")
    num_rows = 1 + sum((count - 1) * step for count, step in zip(counts, steps, strict=True))
    return rows, offsets, num_rows
