"""The VQ-16 image tokenizer (LlamaGen, arXiv:2406.06525, section 2.1): pixels to codebook ids and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VQConfig
from .conv_blocks import NORM_EPS, AttnBlock, Downsample, ResnetBlock, Upsample


class VQModel(nn.Module):
    """Encoder, codebook and decoder. It overflows in fp16: keep it in bf16 or float32."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VQEncoder(config)
        self.decoder = VQDecoder(config)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)
        self.quant_conv = nn.Conv2d(config.z_channels, config.codebook_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.codebook_dim, config.z_channels, 1)

    def encode(self, pixels: Tensor) -> Tensor:
        """Maps pixels [B, 3, H, W] in [-1, 1] to ids [B, h, w] of the nearest codebook entries."""
        latents = self.quant_conv(self.encoder(pixels.to(self.quant_conv.weight.dtype)))
        entries = self.codebook(torch.arange(self.config.codebook_size, device=latents.device))
        # Both sides are unit vectors, so the nearest entry is the one with the largest product; float32
        # because neighbouring products differ by less than a bf16 step.
        latents = F.normalize(latents.permute(0, 2, 3, 1).float(), dim=-1)
        return (latents @ F.normalize(entries.float(), dim=-1).T).argmax(dim=-1)

    def decode(self, image_tokens: Tensor) -> Tensor:
        """Maps ids [B, h, w] to pixels [B, 3, H, W] of about [-1, 1]."""
        entries = F.normalize(self.codebook(image_tokens), dim=-1)
        return self.decoder(self.post_quant_conv(entries.permute(0, 3, 1, 2)))


class VQEncoder(nn.Module):
    """Convolutions from pixels down to one latent vector per token; attention at the last level only."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        channels = config.ch
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        for level, mult in enumerate(config.encoder_ch_mult):
            is_last = level == len(config.encoder_ch_mult) - 1
            resample = nn.Identity() if is_last else Downsample(config.ch * mult)
            self.conv_blocks.append(
                VQLevel(channels, config.ch * mult, config.num_res_blocks, config, is_last, resample)
            )
            channels = config.ch * mult
        self.mid = _middle(channels, config)
        self.norm_out = nn.GroupNorm(config.num_groups, channels, eps=NORM_EPS)
        self.conv_out = nn.Conv2d(channels, config.z_channels, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps [B, 3, H, W] to [B, z_channels, h, w]."""
        features = self.conv_in(pixels)
        for level in self.conv_blocks:
            features = level(features)
        return self.conv_out(F.silu(self.norm_out(self.mid(features))))


class VQDecoder(nn.Module):
    """The encoder's mirror; level 0 is the lowest resolution, as in the checkpoints."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        channels = config.ch * config.decoder_ch_mult[-1]
        self.conv_in = nn.Conv2d(config.z_channels, channels, 3, padding=1)
        self.mid = _middle(channels, config)
        self.conv_blocks = nn.ModuleList()
        for level, mult in enumerate(reversed(config.decoder_ch_mult)):
            is_last = level == len(config.decoder_ch_mult) - 1
            resample = nn.Identity() if is_last else Upsample(config.ch * mult)
            self.conv_blocks.append(
                VQLevel(channels, config.ch * mult, config.num_res_blocks + 1, config, level == 0, resample)
            )
            channels = config.ch * mult
        self.norm_out = nn.GroupNorm(config.num_groups, channels, eps=NORM_EPS)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Maps [B, z_channels, h, w] to [B, 3, H, W]."""
        features = self.mid(self.conv_in(latents))
        for level in self.conv_blocks:
            features = level(features)
        return self.conv_out(F.silu(self.norm_out(features)))


class VQLevel(nn.Module):
    """The blocks of one resolution and the change to the next."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int,
        config: VQConfig,
        attention: bool,
        resample: nn.Module,
    ) -> None:
        super().__init__()
        widths = [in_channels] + [out_channels] * num_blocks
        self.res = nn.ModuleList(
            ResnetBlock(width, out_channels, config.num_groups) for width in widths[:num_blocks]
        )
        self.attn = nn.ModuleList(
            AttnBlock(out_channels, config.num_groups) for _ in range(num_blocks * attention)
        )
        self.resample = resample

    def forward(self, features: Tensor) -> Tensor:
        """Maps [B, C_in, H, W] to the next level's [B, C_out, H', W']."""
        for index, block in enumerate(self.res):
            features = block(features)
            if self.attn:
                features = self.attn[index](features)
        return self.resample(features)


def _middle(channels: int, config: VQConfig) -> nn.Sequential:
    """Residual, attention, residual, at the lowest resolution."""
    return nn.Sequential(
        ResnetBlock(channels, channels, config.num_groups),
        AttnBlock(channels, config.num_groups),
        ResnetBlock(channels, channels, config.num_groups),
    )
