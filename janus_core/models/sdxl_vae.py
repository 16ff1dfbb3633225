"""The continuous image autoencoder of SDXL (arXiv:2307.01952, section 2.4): pixels to latents and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import VAEConfig
from .conv_stacks import ConvDecoder, ConvEncoder


class AutoencoderKL(nn.Module):
    """Encoder and decoder around Gaussian latents. It overflows in fp16: keep it in bf16 or float32."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        widths, num_groups = config.block_out_channels, config.norm_num_groups
        moments = 2 * config.latent_channels
        self.encoder = ConvEncoder(
            widths[0], widths, config.layers_per_block, moments, num_groups, attention=False
        )
        self.decoder = ConvDecoder(
            config.latent_channels, widths, config.layers_per_block + 1, num_groups, attention=False
        )
        self.quant_conv = nn.Conv2d(moments, moments, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def moments(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Maps pixels [B, 3, H, W] in [-1, 1] to mean and log-variance [B, C, h, w] of their latents.

        The log-variance is clamped as in the reference, so that its exponential is finite.
        """
        features = self.encoder(pixels.to(self.quant_conv.weight.dtype))
        mean, log_variance = torch.chunk(self.quant_conv(features), 2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def decode(self, latents: Tensor) -> Tensor:
        """Maps latents [B, C, h, w], unscaled, to pixels [B, 3, H, W] of about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents.to(self.post_quant_conv.weight.dtype)))
