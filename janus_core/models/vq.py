"""The VQ-16 image tokenizer (LlamaGen, arXiv:2406.06525, section 2.1): pixels to codebook ids and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VQConfig
from .conv_stacks import ConvDecoder, ConvEncoder


class VQModel(nn.Module):
    """Encoder, codebook and decoder. It overflows in fp16: keep it in bf16 or float32."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(
            config.ch,
            [config.ch * mult for mult in config.encoder_ch_mult],
            config.num_res_blocks,
            config.z_channels,
            config.num_groups,
            attention=True,
        )
        self.decoder = ConvDecoder(
            config.z_channels,
            [config.ch * mult for mult in config.decoder_ch_mult],
            config.num_res_blocks + 1,
            config.num_groups,
            attention=True,
        )
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
