"""Encoder and decoder of both image autoencoders (VQGAN, arXiv:2012.09841, appendix A)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .conv_blocks import NORM_EPS, AttnBlock, Downsample, ResnetBlock, Upsample


class ConvEncoder(nn.Module):
    """Convolutional encoder from pixels to latents, with one level of `num_blocks` blocks per width.

    All levels but the last halve height and width. `stem_channels` is the width of the first convolution.
    With `attention`, the lowest resolution has attention blocks; the middle always has one.
    """

    def __init__(
        self,
        stem_channels: int,
        widths: Sequence[int],
        num_blocks: int,
        out_channels: int,
        num_groups: int,
        attention: bool,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, stem_channels, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        channels = stem_channels
        for level, width in enumerate(widths):
            is_last = level == len(widths) - 1
            resample = nn.Identity() if is_last else Downsample(width)
            self.conv_blocks.append(
                ConvLevel(channels, width, num_blocks, num_groups, attention and is_last, resample)
            )
            channels = width
        self.mid = _middle(channels, num_groups)
        self.norm_out = nn.GroupNorm(num_groups, channels, eps=NORM_EPS)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps [B, 3, H, W] to [B, out_channels, h, w]."""
        features = self.conv_in(pixels)
        for level in self.conv_blocks:
            features = level(features)
        return self.conv_out(F.silu(self.norm_out(self.mid(features))))


class ConvDecoder(nn.Module):
    """Convolutional decoder from latents to pixels; the arguments mirror the encoder's.

    `widths` are in the encoder's order, the highest resolution first. Level 0 has the lowest resolution.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], num_blocks: int, num_groups: int, attention: bool
    ) -> None:
        super().__init__()
        channels = widths[-1]
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.mid = _middle(channels, num_groups)
        self.conv_blocks = nn.ModuleList()
        for level, width in enumerate(reversed(widths)):
            is_last = level == len(widths) - 1
            resample = nn.Identity() if is_last else Upsample(width)
            self.conv_blocks.append(
                ConvLevel(channels, width, num_blocks, num_groups, attention and level == 0, resample)
            )
            channels = width
        self.norm_out = nn.GroupNorm(num_groups, channels, eps=NORM_EPS)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Maps [B, in_channels, h, w] to [B, 3, H, W]."""
        features = self.mid(self.conv_in(latents))
        for level in self.conv_blocks:
            features = level(features)
        return self.conv_out(F.silu(self.norm_out(features)))


class ConvLevel(nn.Module):
    """The blocks of one resolution, and the resampling to the next."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        num_groups: int,
        attention: bool,
        resample: nn.Module,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * (num_blocks - 1)
        self.res = nn.ModuleList(ResnetBlock(width, out_channels, num_groups) for width in widths)
        self.attn = nn.ModuleList(AttnBlock(out_channels, num_groups) for _ in range(num_blocks * attention))
        self.resample = resample

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C_in, H, W] to the next level's [B, C_out, H', W']."""
        for index, block in enumerate(self.res):
            features = block(features)
            if self.attn:
                features = self.attn[index](features)
        return self.resample(features)


def _middle(channels: int, num_groups: int) -> nn.Sequential:
    """Residual, attention and residual block at the lowest resolution."""
    return nn.Sequential(
        ResnetBlock(channels, channels, num_groups),
        AttnBlock(channels, num_groups),
        ResnetBlock(channels, channels, num_groups),
    )
