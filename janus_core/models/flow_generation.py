"""Image generation by flow: latents to velocities (JanusFlow, arXiv:2411.07975, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import FlowGenerationConfig
from .layers import RMSNorm
from .sdxl_vae import AutoencoderKL
from .uvit import UViTDecoder, UViTEncoder


class FlowGeneration(nn.Module):
    """The networks before and after the transformer, and optionally the VAE."""

    def __init__(self, config: FlowGenerationConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = UViTEncoder(config.encoder)
        self.encoder_aligner = nn.Linear(config.encoder.block_out_channels, config.hidden_size)
        self.decoder_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.decoder_aligner = nn.Linear(config.hidden_size, config.decoder.block_out_channels)
        self.decoder = UViTDecoder(config.decoder)
        self.vae = AutoencoderKL(config.vae) if config.vae else None

    def embed_latents(self, latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embeds noisy latents [B, 4, H, W] at times [B] in [0, 1], 0 being noise.

        Returns:
            Inputs of the transformer [B, 1 + N, C], the time first; and for `velocity`, the features of the
            encoder [B, C_uvit, h, w] and the embedded time [B, C].
        """
        skip, time_embeds = self.encoder(latents, timestep)
        positions = self.encoder_aligner(skip.flatten(2).transpose(1, 2))
        return torch.cat((time_embeds[:, None], positions), dim=1), skip, time_embeds

    def velocity(self, hidden_states: Tensor, skip: Tensor, time_embeds: Tensor) -> Tensor:
        """Maps the transformer's output [B, 1 + N, C] for `embed_latents` to a velocity [B, 4, H, W]."""
        features = self.decoder_aligner(self.decoder_norm(hidden_states[:, 1:]))
        features = features.transpose(1, 2).unflatten(2, skip.shape[2:])
        return self.decoder(features, skip, time_embeds)

    @property
    def can_decode(self) -> bool:
        """Whether the model has a VAE, which `encode` and `decode` need."""
        return self.vae is not None

    def encode(self, pixels: Tensor) -> Tensor:
        """Maps pixels [B, 3, H, W] in [-1, 1] to float32 latents [B, 4, h, w], the mean of the VAE."""
        mean, _ = self._vae().moments(pixels)
        return mean.float() * self.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Maps latents [B, 4, h, w] of the flow to pixels [B, 3, H, W] in [-1, 1]."""
        return self._vae().decode(latents / self.config.scaling_factor).float().clamp(-1.0, 1.0)

    def _vae(self) -> AutoencoderKL:
        if self.vae is None:
            raise RuntimeError(
                "model must have a VAE to go between latents and pixels, got none; pass vae=<SDXL's VAE> to "
                "load_pipeline"
            )
        return self.vae
