"""The transformer: a Llama decoder (arXiv:2302.13971) with grouped-query attention and an explicit cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import LlamaConfig
from .attention import attend, kernel_mask
from .cache import Cache, KVCache
from .layers import RMSNorm, rotary_angles, rotate

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of `rotary_angles`."""


class Llama(nn.Module):
    """Embeddings in, hidden states out; `lm_head` turns these into text logits."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LlamaBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Maps text ids [B, T] to inputs [B, T, C] in the dtype that the layers compute in."""
        return self.embed_tokens(input_ids).to(self.norm.weight.dtype)

    def new_cache(self, batch_size: int, max_length: int, device: torch.device) -> KVCache:
        """An empty `KVCache` in the dtype that the layers compute in."""
        return KVCache(self.config, batch_size, max_length, device, self.norm.weight.dtype)

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, cache: Cache) -> Tensor:
        """Reads T more tokens, embedded as [B, T, C], at rotary positions [B, T] into the cache.

        Returns their hidden states [B, T, C] after the final norm.
        """
        num_new = inputs_embeds.shape[1]
        if cache.length + num_new > cache.max_length:
            raise RuntimeError(
                f"the cache must have room for {num_new} more tokens, "
                f"got {cache.max_length - cache.length} free slots; "
                "allocate it for prompt and answer together"
            )
        config = self.config
        rotary = rotary_angles(position_ids, config.head_dim, config.rope_theta, inputs_embeds.dtype)
        mask = kernel_mask(cache.mask(num_new), inputs_embeds.dtype)
        hidden_states = inputs_embeds
        for index, layer in enumerate(self.layers):
            hidden_states = layer(hidden_states, rotary, mask, cache, index)
        cache.advance(num_new)
        return self.norm(hidden_states)


class LlamaBlock(nn.Module):
    """A pre-norm decoder block."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(config)

    def forward(
        self, hidden_states: Tensor, rotary: Rotary, mask: Tensor | None, cache: Cache, index: int
    ) -> Tensor:
        """Maps [B, T, C] to the same shape; keys and values go to layer `index` of the cache."""
        attended = self.self_attn(self.input_layernorm(hidden_states), rotary, mask, cache, index)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))


class LlamaAttention(nn.Module):
    """Causal self-attention; the query, key and value projections are one matrix."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        qkv_size = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, qkv_size, bias=False)
        self.o_proj = nn.Linear(self.num_heads * self.head_dim, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Tensor, rotary: Rotary, mask: Tensor | None, cache: Cache, index: int
    ) -> Tensor:
        """Maps [B, T, C] to the same shape; keys and values go to layer `index` of the cache."""
        batch, num_new, _ = hidden_states.shape
        states = self.qkv_proj(hidden_states).view(batch, num_new, -1, self.head_dim).transpose(1, 2)
        rotated, value = states.split((self.num_heads + self.num_kv_heads, self.num_kv_heads), dim=1)
        query, key = rotate(rotated, *rotary).split((self.num_heads, self.num_kv_heads), dim=1)
        key, value = cache.append(index, key, value)
        attended = attend(query, key, value, mask, cache.exact)
        return self.o_proj(attended.transpose(1, 2).reshape(batch, num_new, -1))


class LlamaMLP(nn.Module):
    """SwiGLU feed-forward (arXiv:2002.05202); gate and up projections are one matrix."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [B, T, C] to the same shape."""
        gate, up = self.gate_up_proj(hidden_states).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)
