"""Attention of a single query position, as in a decode step, at the speed of a CPU's memory.

PyTorch's `scaled_dot_product_attention` multiplies matrices, and for a single query reads keys and values at
half of the memory bandwidth. The two operators used here reach all of it: `bmm` for the scores, with each
query contiguous in memory, and `embedding_bag` for the outputs, which sums weighted rows of a table.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_single_query(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Like `attend` with T = 1. The last stride of `value` must be 1, the others divisible by D."""
    batch, heads, _, size = query.shape
    groups, slots = key.shape[1:3]
    # The queries that share a key-value head are columns of one matrix: a transposed view, not a copy.
    queries = query.reshape(batch * groups, heads // groups, size).mT
    scores = torch.bmm(key.flatten(0, 1), queries * size**-0.5)  # [B * G, S, H / G]
    if mask is not None:
        scores.view(batch, groups, slots, -1).masked_fill_(~mask.mT, -torch.inf)
    weights = scores.softmax(dim=1).mT.reshape(-1)  # [B * H * S]
    # Each head is a bag of S table rows. The table is a view of the memory from the first value to the last,
    # so the values are read where they lie in the cache.
    indices, offsets, table_length = _value_row_indices(value.shape, value.stride(), heads // groups)
    table = value.as_strided((table_length, size), (size, 1))
    attended = F.embedding_bag(indices, table, offsets, mode="sum", per_sample_weights=weights)
    return attended.view(batch, heads, 1, size)


@lru_cache(maxsize=1)  # the same for all layers of a decode step, and a few megabytes at most
def _value_row_indices(
    shape: torch.Size, strides: tuple[int, ...], heads_per_group: int
) -> tuple[Tensor, Tensor, int]:
    """Finds values [B, G, S, D] of the given strides in a table whose rows have D elements.

    Returns:
        [B * H * S] the table rows of each head in turn; [B * H] the offset of each head in these; and the
        number of table rows up to the last one used.
    """
    *counts, size = shape
    steps = [stride // size for stride in strides[:3]]
    table_length = 1 + sum((count - 1) * step for count, step in zip(counts, steps, strict=True))
    rows = torch.arange(table_length, device="cpu").as_strided(counts, steps)  # [B, G, S]
    indices = rows.repeat_interleave(heads_per_group, dim=1).flatten()
    offsets = torch.arange(0, len(indices), counts[2], device="cpu")
    return indices, offsets, table_length
