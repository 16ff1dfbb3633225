"""Attention of few query positions, as in a decode step, at the speed of a CPU's memory.

PyTorch's `scaled_dot_product_attention` multiplies matrices, and for a single query reads keys and values at
half of the memory bandwidth. The two operators used here reach all of it: `bmm` for the scores, and
`embedding_bag` for the outputs, which sums weighted rows of a table.

If it has to be exact, every query has the same result, to the last bit, whatever queries are computed beside
it and whatever slots are hidden after its own. PyTorch's attention rounds differently for other shapes, and
where layers round their inputs, such a difference would change tokens that are drawn ahead.
"""

from __future__ import annotations

from functools import cache, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# For fewer, `bmm` and `softmax` take other code, which rounds differently.
_MIN_SLOTS = 32

_MOST_COLUMNS = 64  # of a product that tries `bmm`


def attend_few_queries(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, exact: bool = False
) -> Tensor:
    """Like `attend` with few queries. The last stride of `value` must be 1, the others divisible by D."""
    batch, heads, count, size = query.shape
    groups, slots = key.shape[1:3]
    if slots < _MIN_SLOTS:
        padding = (0, 0, 0, _MIN_SLOTS - slots)
        key, value = F.pad(key, padding), F.pad(value, padding)
        visible = key.new_ones(1, 1, count, slots, dtype=torch.bool) if mask is None else mask
        mask, slots = F.pad(visible, (0, _MIN_SLOTS - slots)), _MIN_SLOTS
    # The queries that share a key-value head are columns of one matrix, whose layout decides on MKL's kernel.
    queries = query.reshape(batch * groups, heads // groups * count, size).mT * size**-0.5
    columns = queries.shape[-1]
    missing = _fewest_columns() - columns if exact else 0
    if missing > 0:
        queries = F.pad(queries, (0, missing))
    scores = torch.bmm(key.flatten(0, 1), queries.contiguous())[..., :columns]  # [B * G, S, H / G * T]
    if mask is not None:
        hidden = ~mask.mT[:, :, :, None]  # [B or 1, 1, S, 1, T]
        scores.view(batch, groups, slots, -1, count).masked_fill_(hidden, -torch.inf)
    weights = scores.mT.contiguous().softmax(dim=-1).flatten()  # [B * H * T * S]
    # Each query is a bag of S table rows. The table is a view of the memory from the first value to the last,
    # so the values are read where they lie in the cache.
    bags = heads // groups * count
    indices, offsets, table_length = _value_row_indices(value.shape, value.stride(), bags)
    table = value.as_strided((table_length, size), (size, 1))
    attended = F.embedding_bag(indices, table, offsets, mode="sum", per_sample_weights=weights)
    return attended.view(batch, heads, count, size)


@cache
def _fewest_columns() -> int:
    """The fewest columns from which `bmm` computes each column alike, whatever their number.

    MKL has other kernels for fewer: on AMD's CPUs for fewer than 12, on those of Intel for none.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    numbers = torch.randn(
        64, _MIN_SLOTS + _MOST_COLUMNS, generator=generator, device="cpu", dtype=torch.float32
    )
    queries, keys = numbers[None].split((_MOST_COLUMNS, _MIN_SLOTS), dim=-1)
    with torch.autocast("cpu", enabled=False):
        all_scores = torch.bmm(keys.mT.contiguous(), queries.contiguous())
        for columns in range(_MOST_COLUMNS, 0, -1):
            scores = torch.bmm(keys.mT.contiguous(), queries[..., :columns].contiguous())
            if not torch.equal(scores, all_scores[..., :columns]):
                return columns + 1
    return 1


@lru_cache(maxsize=1)  # the same for all layers of a decode step, and a few megabytes at most
def _value_row_indices(
    shape: torch.Size, strides: tuple[int, ...], bags_per_group: int
) -> tuple[Tensor, Tensor, int]:
    """Finds values [B, G, S, D] of the given strides in a table whose rows have D elements.

    Returns:
        [B * H * T * S] the table rows of each query in turn; [B * H * T] the offset of each in these; and the
        number of table rows up to the last one used.
    """
    *counts, size = shape
    steps = [stride // size for stride in strides[:3]]
    table_length = 1 + sum((count - 1) * step for count, step in zip(counts, steps, strict=True))
    rows = torch.arange(table_length, device="cpu").as_strided(counts, steps)  # [B, G, S]
    indices = rows.repeat_interleave(bags_per_group, dim=1).flatten()
    offsets = torch.arange(0, len(indices), counts[2], device="cpu")
    return indices, offsets, table_length
