"""The SigLIP vision transformer of the understanding encoder (arXiv:2303.15343), without its pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import SiglipConfig


class SiglipVisionTower(nn.Module):
    """Encodes each patch of an image as one feature vector; no class token."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Embedding(config.num_positions, config.hidden_size)
        self.blocks = nn.ModuleList(SiglipBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Maps normalised [B, 3, S, S] pixels to [B, N, C] features, after the final LayerNorm."""
        pixel_values = pixel_values.to(self.patch_embed.weight.dtype)
        hidden_states = self.patch_embed(pixel_values).flatten(2).transpose(1, 2)
        positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        hidden_states = hidden_states + self.position_embedding(positions)
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return self.norm(hidden_states)


class SiglipBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = SiglipAttention(config)
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = SiglipMLP(config)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [B, N, C] to the same shape."""
        hidden_states = hidden_states + self.attn(self.norm1(hidden_states))
        return hidden_states + self.mlp(self.norm2(hidden_states))


class SiglipAttention(nn.Module):
    """Multi-head self-attention without a mask."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [B, N, C] to the same shape."""
        batch, positions, channels = hidden_states.shape
        qkv = self.qkv(hidden_states).view(batch, positions, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, positions, channels))


class SiglipMLP(nn.Module):
    """Two linear layers around the exact (erf) GELU."""

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [B, N, C] to the same shape."""
        return self.fc2(F.gelu(self.fc1(hidden_states)))
