"""Scaled dot-product attention with grouped key-value heads (arXiv:1706.03762, section 3.2.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .cpu.few_query_attention import attend_few_queries

# With fewer elements in the keys of one sequence, the kernel's overhead exceeds its gain for a single query.
_MIN_KEY_ELEMENTS = 2**17

# GPU kernels take masks whose rows begin at multiples of this many elements; others are copied in each layer.
_MASK_ALIGNMENT = 16

# The kernel's working memory grows with the queries, and PyTorch's attention is faster for many.
_MAX_FEW_QUERIES = 64


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, exact: bool = False) -> Tensor:
    """Attention [B, H, T, D] of T new tokens to S tokens in a cache, themselves (the last T) included.

    `query` is [B, H, T, D]; `key` and `value` are [B, G, S, D], H being a multiple of the G key-value heads.
    `mask` [B or 1, 1, T, S], from `kernel_mask`, says which slot s a new token t may attend to; each needs at
    least one. None is causal attention, for T = 1 or T = S. `exact` asks for the kernel of few queries, where
    it runs: its results do not depend, to the last bit, on other queries and on hidden slots.
    """
    if _use_few_query_kernel(query, key, value, mask, exact):
        return attend_few_queries(query, key, value, mask, exact)
    causal, grouped = mask is None and query.shape[2] > 1, query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, enable_gqa=grouped)


def kernel_mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask [B or 1, 1, T, S] bool, True = visible, as the kernels of its device take it, for all layers.

    On GPUs it is added to the scores, in the queries' dtype; CPU kernels read bools.
    """
    if mask is None or mask.device.type == "cpu":
        return mask
    *rows, slots = mask.shape
    added = mask.new_full((*rows, slots + -slots % _MASK_ALIGNMENT), -torch.inf, dtype=dtype)[..., :slots]
    return added.masked_fill_(mask, 0.0)


def score_bytes(device: torch.device, heads: int, head_dim: int, slots: int, queries: int) -> int:
    """Working memory per query token; 0 with a fused kernel, which never holds all scores at a time.

    The kernel for few queries holds three copies of the scores, and the number of each value. Where exact
    results need more columns (AMD's CPUs), it holds up to 1 MB more for each sequence, which is not counted.

    Without one, there are two float32 copies of the scores, and 6 other float32 tensors: queries, keys and
    values, scaled queries and keys, and the outputs.
    """
    if device.type == "cpu" and queries <= _MAX_FEW_QUERIES:
        return 20 * heads * slots
    fused = device.type in ("cpu", "xpu", "meta")
    if device.type == "cuda":  # CUDA, or ROCm, which may lack the kernels
        fused = torch.backends.cuda.is_flash_attention_available()
    return 0 if fused else heads * (8 * slots + 24 * head_dim)


def _use_few_query_kernel(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, exact: bool
) -> bool:
    """Whether the kernel applies, and is exact or faster: in float32 with MKL, as measured on x86 CPUs."""
    *strides, last_stride = value.stride()
    num_queries, is_large = query.shape[2], key[0].numel() >= _MIN_KEY_ELEMENTS
    return (
        (exact or (num_queries == 1 and is_large))
        and num_queries <= _MAX_FEW_QUERIES
        and (num_queries == 1 or mask is not None)
        and query.device.type == "cpu"
        and query.dtype is torch.float32
        # The values must be addressable as rows of one table, as those of a cache are.
        and last_stride == 1
        and all(stride % value.shape[-1] == 0 for stride in strides)
        and torch.backends.mkl.is_available()
        # Older releases lack embedding_bag's gradient of the attention weights for a table without gradients.
        and not torch.is_grad_enabled()
    )
