"""The shallow U-ViT before and after the transformer (JanusFlow, arXiv:2411.07975, section 3.2)."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import UViTConfig
from .layers import RMSNorm

_EXPANSION = 4  # inner width of a block over its outer width
_MAX_PERIOD = 10_000.0
_TIME_SCALE = 1000.0


class UViTEncoder(nn.Module):
    """Encodes latents and time as features and an embedded time."""

    def __init__(self, config: UViTConfig) -> None:
        super().__init__()
        width, patch, bias = config.block_out_channels, config.patch_size, config.use_bias
        self.time_embed = TimeEmbedding(width, config.hidden_size, bias)
        self.in_conv = nn.Conv2d(config.channels, width, patch, stride=patch)
        self.blocks = nn.ModuleList(ConvNextBlock(width, config) for _ in range(config.layers_in_middle))

    def forward(self, latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Maps latents [B, 4, H, W] and times [B] in [0, 1] to features [B, C, h, w] and time [B, C_body]."""
        time_embeds = self.time_embed(timestep, self.in_conv.weight.dtype)
        features = self.in_conv(latents.to(self.in_conv.weight.dtype))
        for block in self.blocks:
            features = block(features, time_embeds)
        return features, time_embeds


class UViTDecoder(nn.Module):
    """Decodes features of the transformer and of the encoder to a velocity."""

    def __init__(self, config: UViTConfig) -> None:
        super().__init__()
        width = 2 * config.block_out_channels
        self.input_norm = RMSNorm(config.block_out_channels, config.norm_eps)
        self.blocks = nn.ModuleList(ConvNextBlock(width, config) for _ in range(config.layers_in_middle))
        widths = [width, *[config.block_out_channels] * (config.upsamples - 1), config.channels]
        self.out_convs = nn.ModuleList(Unpatchify(*pair, config) for pair in itertools.pairwise(widths))

    def forward(self, features: Tensor, skip: Tensor, time_embeds: Tensor) -> Tensor:
        """Maps two [B, C, h, w] and time [B, C_body] to a velocity [B, 4, H, W]."""
        features = torch.cat((_over_channels(self.input_norm, features), skip), dim=1)
        for block in self.blocks:
            features = block(features, time_embeds)
        for out_conv in self.out_convs:
            features = out_conv(features)
        return features


class Unpatchify(nn.Module):
    """Doubles height and width."""

    def __init__(self, channels: int, out_channels: int, config: UViTConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(channels, config.norm_eps)
        self.unpatch_conv = nn.Conv2d(channels, 4 * out_channels, 1, bias=config.use_bias)

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C, h, w] to [B, C_out, 2h, 2w]."""
        return F.pixel_shuffle(self.unpatch_conv(_over_channels(self.norm, features)), 2)


class ConvNextBlock(nn.Module):
    """A ConvNeXt V2 block (arXiv:2301.00808, figure 5) with scale and shift from the time."""

    def __init__(self, channels: int, config: UViTConfig) -> None:
        super().__init__()
        bias, inner = config.use_bias, _EXPANSION * channels
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=bias)
        self.norm = RMSNorm(channels, config.norm_eps)
        self.channelwise_linear_1 = nn.Linear(channels, inner, bias=bias)
        self.channelwise_norm = GlobalResponseNorm(inner)
        self.channelwise_linear_2 = nn.Linear(inner, channels, bias=bias)
        self.cond_embeds_mapper = nn.Linear(config.hidden_size, 2 * channels, bias=bias)

    def forward(self, features: Tensor, time_embeds: Tensor) -> Tensor:
        """Maps [B, C, h, w] and time [B, C_body] to the same shape as the features."""
        residual = self.norm(self.depthwise(features).permute(0, 2, 3, 1))
        residual = self.channelwise_norm(F.gelu(self.channelwise_linear_1(residual)))
        features = features + self.channelwise_linear_2(residual).permute(0, 3, 1, 2)
        scale, shift = self.cond_embeds_mapper(F.silu(time_embeds))[:, :, None, None].chunk(2, dim=1)
        return features * (1 + scale) + shift


class GlobalResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, arXiv:2301.00808, algorithm 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # This shape is the checkpoints'.
        self.weight = nn.Parameter(torch.zeros(1, 1, 1, channels))
        self.bias = nn.Parameter(torch.zeros(1, 1, 1, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, h, w, C] to the same shape."""
        return self.normalize(features, self.weight, self.bias)

    def normalize(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The normalisation with a given scale and shift [1, 1, 1, C], which a host may have moved.

        The norm over the map is at least float32, because its sum of squares overflows fp16.
        """
        wide = torch.promote_types(features.dtype, torch.float32)
        norms = torch.linalg.vector_norm(features, dim=(1, 2), keepdim=True, dtype=wide)
        shares = (norms / (norms.mean(dim=-1, keepdim=True) + 1e-6)).to(features.dtype)
        return bias + (weight * shares + 1) * features


class TimeEmbedding(nn.Module):
    """Sinusoids of the time and two linear layers (DDPM, arXiv:2006.11239, appendix B)."""

    def __init__(self, channels: int, hidden_size: int, bias: bool) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, hidden_size, bias=bias)
        self.linear_2 = nn.Linear(hidden_size, hidden_size, bias=bias)

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """Maps times [B] in [0, 1] to [B, C_body] of a dtype."""
        waves = time_waves(timestep, self.channels).to(dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


def time_waves(timestep: Tensor, channels: int) -> Tensor:
    """Cosines, then sines, of times [B] in [0, 1] at `channels / 2` frequencies, [B, channels] float32.

    Computed each time, because a buffer would stay on `meta` after a meta build. Float32 because bf16 would
    merge neighbouring times, as happens in the reference.
    """
    half = channels // 2
    exponents = torch.arange(half, device=timestep.device, dtype=torch.float32) / half
    frequencies = torch.exp(-math.log(_MAX_PERIOD) * exponents)
    angles = timestep.float()[:, None] * _TIME_SCALE * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _over_channels(norm: nn.Module, features: Tensor) -> Tensor:
    """Applies a norm of the last dimension to the channels of [B, C, h, w]."""
    return norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
