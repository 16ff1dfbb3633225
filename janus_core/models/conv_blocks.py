"""Convolutional blocks of the image autoencoders (VQGAN, arXiv:2012.09841, appendix A)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6


class ResnetBlock(nn.Module):
    """Two normalised 3x3 convolutions around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(num_groups, in_channels, eps=NORM_EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(num_groups, out_channels, eps=NORM_EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C_in, H, W] to [B, C_out, H, W]."""
        residual = self.conv1(F.silu(self.norm1(features)))
        residual = self.conv2(F.silu(self.norm2(residual)))
        return self.nin_shortcut(features) + residual


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions of a feature map."""

    def __init__(self, channels: int, num_groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, channels, eps=NORM_EPS)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C, H, W] to the same shape."""
        normed = self.norm(features)
        # [B, C, H, W] -> [B, 1, H*W, C]: one head as wide as the feature map is deep.
        query, key, value = (
            conv(normed).flatten(2).transpose(1, 2)[:, None] for conv in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return features + self.proj_out(attended[:, 0].transpose(1, 2).reshape(features.shape))


class Downsample(nn.Module):
    """Halves height and width by a strided convolution, padded on the right and at the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, C, H // 2, W // 2]."""
        return self.conv(F.pad(features, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles height and width by nearest-neighbour interpolation and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C, H, W] to [B, C, 2H, 2W]."""
        return self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))
