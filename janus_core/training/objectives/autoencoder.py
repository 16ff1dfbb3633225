"""Training of the VAE that a flow needs: reconstruction through Gaussian latents (arXiv:1312.6114)."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from ...models.sdxl_vae import AutoencoderKL
from ...pipeline.pipeline import JanusPipeline
from ..pictures import to_images
from ..recipe import Stage
from ..samples import TrainingData
from .reconstruction import reconstruction_error


class AutoencoderObjective(nn.Module):
    """Reconstruction error and a small divergence from the standard normal distribution.

    As in latent diffusion (arXiv:2112.10752, appendix G), whose perceptual and adversarial losses are left
    out: plain drawings do well without. The noise of the latents teaches the decoder to tolerate errors of
    the flow. At the end the latents are scaled to the variance that flows expect.
    """

    FOREGROUND = 4.0  # additional weight of foreground pixels
    DIVERGENCE = 2e-3  # weight of the divergence, in nats per latent
    SCALED_WITH = 512  # pictures from which the mean and the variance of latents are measured

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: TrainingData) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data

    @property
    def vae(self) -> AutoencoderKL:
        """The VAE in training."""
        vae = self.pipeline.model.flow_generation.vae
        assert vae is not None  # a recipe with this stage is for models that have one
        return vae

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Returns the losses of one batch by name; "loss" is the one to minimise."""
        pixels = self._pixels(rng, self.stage.batch_size)
        mean, log_variance = (values.float() for values in self.vae.moments(pixels))
        # On the CPU, so that the noise does not depend on the device.
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        decoded = self.vae.decode(mean + torch.exp(log_variance / 2) * noise).float()
        error = reconstruction_error(decoded, pixels, self.FOREGROUND)
        divergence = (mean.square() + log_variance.exp() - 1.0 - log_variance).mean() / 2
        return {
            "loss": error + self.DIVERGENCE * divergence,
            "pixels": error.detach(),
            "divergence": divergence.detach(),
        }

    @torch.no_grad()
    def finish(self) -> None:
        """Gives each channel of the flow's latents mean 0 and variance 1, without changing any picture.

        The 1 x 1 convolutions around the latents take the change.
        """
        vae, rng = self.vae, random.Random("scale")
        pixels = self._pixels(rng, self.SCALED_WITH).split(32)
        means = torch.cat([vae.moments(part)[0].float() for part in pixels])
        shift = means.mean(dim=(0, 2, 3))
        scale = means.std(dim=(0, 2, 3)) * self.pipeline.model.flow_generation.config.scaling_factor
        channels = len(shift)
        encode, decode = vae.quant_conv, vae.post_quant_conv
        assert encode.bias is not None and decode.bias is not None
        # Decoding comes first undone: latents = scale * new + shift.
        decode.bias += (decode.weight[:, :, 0, 0] * shift).sum(dim=1)
        decode.weight *= scale[None, :, None, None]
        encode.weight[:channels] /= scale[:, None, None, None]
        encode.bias[:channels] = (encode.bias[:channels] - shift) / scale
        encode.bias[channels:] -= 2 * scale.log()

    def _pixels(self, rng: random.Random, count: int) -> Tensor:
        images = to_images([self.data.picture(rng) for _ in range(count)])
        return self.pipeline.image_processor.pixels(images).to(self.pipeline.device)
