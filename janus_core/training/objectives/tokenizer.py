"""Training of the image tokenizer: reconstruction through a codebook (LlamaGen, arXiv:2406.06525, 2.1)."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.token_generation import TokenGeneration
from ...models.vq import VQModel
from ...pipeline.pipeline import JanusPipeline
from ..pictures import to_images
from ..recipe import Stage
from ..samples import TrainingData
from .reconstruction import reconstruction_error


class TokenizerObjective(nn.Module):
    """Reconstruction error, VQ losses, and one more that gives equal patches equal latents.

    LlamaGen's perceptual and adversarial losses need pretrained networks and many steps; plain drawings do
    well without. Training starts without quantization. Then the codebook is initialised with k-means of the
    latents, and unused codes are regularly moved to latents that are far from any code.

    A latent also depends on the surroundings of its patch. So a plain background had 180 codes, and which of
    them came next was most of the language model's loss. Therefore latents of patches with equal pixels are
    pulled together, and nearly equal codes are merged at the end.
    """

    CONTINUOUS = 0.12  # share of the steps without quantization
    FOREGROUND = 4.0  # additional weight of foreground pixels
    COMMITMENT = 0.25  # weight of the commitment loss (beta of LlamaGen)
    EQUAL_PATCHES = 10.0  # weight of the distance between latents of equal patches
    RESTART_EVERY = 20  # steps
    DEAD_BELOW = 0.02  # uses per step, as a moving average
    SAME_BELOW = 1e-3  # cosine distance of codes to merge; those of different patches are twice as far apart

    usage: Tensor

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: TrainingData) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data
        self.register_buffer("usage", torch.ones(self.vq.config.codebook_size))

    @property
    def vq(self) -> VQModel:
        """The image tokenizer in training."""
        return self.pipeline.model.token_generation.vq

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Returns the losses of one batch by name; "loss" is the one to minimise."""
        vq = self.vq
        pixels = self._pixels(rng, self.stage.batch_size)
        first_quantized = round(self.stage.steps * self.CONTINUOUS)
        if step == first_quantized:
            # Autocast is off here since it would cache its casts of the weights without their gradients.
            with torch.autocast(pixels.device.type, enabled=False):
                self._initialize_codebook(rng)
        latents = self._latents(pixels)
        equal_patches = F.mse_loss(latents, patch_means(latents, pixels))
        if step < first_quantized:
            error = self._reconstruction_error(latents, pixels)
            return {"loss": error + self.EQUAL_PATCHES * equal_patches, "pixels": error.detach()}

        # Nearest codes. Autocast is off: bf16 cannot tell neighbouring codes apart.
        entries = F.normalize(vq.codebook.weight, dim=-1)
        flat = latents.flatten(0, 2)
        with torch.no_grad(), torch.autocast(flat.device.type, enabled=False):
            ids = (flat @ entries.T).argmax(dim=1)
            used = torch.bincount(ids, minlength=len(entries)).float()
            self.usage.lerp_(used, 0.02)
            if step % self.RESTART_EVERY == 0 and step < 0.7 * self.stage.steps:
                self._restart_dead_codes(flat, ids, rng)
        chosen = F.normalize(vq.codebook(ids), dim=-1).view_as(latents)

        # Codebook and commitment loss (VQ-VAE, arXiv:1711.00937, equation 3), straight-through gradient.
        codes, commitment = F.mse_loss(chosen, latents.detach()), F.mse_loss(latents, chosen.detach())
        error = self._reconstruction_error(latents + (chosen - latents).detach(), pixels)
        return {
            "loss": error + codes + self.COMMITMENT * commitment + self.EQUAL_PATCHES * equal_patches,
            "pixels": error.detach(),
            "codes": codes.detach(),
            "used": (used > 0).float().mean(),
        }

    def finish(self) -> None:
        """Merges nearly equal codes, and initialises the embedding of image tokens with the codes."""
        self._merge_codes()
        embed_codes(self.pipeline.model.token_generation)

    def _pixels(self, rng: random.Random, count: int) -> Tensor:
        images = to_images([self.data.picture(rng) for _ in range(count)])
        return self.pipeline.image_processor.pixels(images).to(self.pipeline.device)

    def _latents(self, pixels: Tensor) -> Tensor:
        """Encodes pixels [B, 3, H, W] as unit vectors [B, h, w, D]."""
        latents = self.vq.quant_conv(self.vq.encoder(pixels)).permute(0, 2, 3, 1)
        return F.normalize(latents.float(), dim=-1)

    def _reconstruction_error(self, latents: Tensor, pixels: Tensor) -> Tensor:
        """Decodes latents [B, h, w, D] and returns the weighted absolute plus squared error of the pixels."""
        decoded = self.vq.decoder(self.vq.post_quant_conv(latents.permute(0, 3, 1, 2)))
        return reconstruction_error(decoded, pixels, self.FOREGROUND)

    @torch.no_grad()
    def _initialize_codebook(self, rng: random.Random) -> None:
        """Sets the codes by spherical k-means, with k-means++ initialisation in batches of 16 centres."""
        generator = torch.Generator().manual_seed(rng.getrandbits(62))
        count = self.vq.config.codebook_size
        pixels = self._pixels(rng, 32 * (1 + count // 48))
        latents = torch.cat([self._latents(part) for part in pixels.split(32)])
        points = torch.unique(F.normalize(patch_means(latents, pixels), dim=-1).flatten(0, 2), dim=0)
        centres = points[torch.randint(len(points), (1,), generator=generator)]
        distance = 1.0 - points @ centres[0]
        while len(centres) < count:
            picked = torch.multinomial(
                distance.cpu().clamp(min=1e-9), min(16, count - len(centres)), generator=generator
            )
            centres = torch.cat((centres, points[picked]))
            distance = torch.minimum(distance, 1.0 - (points @ points[picked].T).amax(dim=1))
        for _ in range(5):
            nearest = (points @ centres.T).argmax(dim=1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, points)
            filled = torch.bincount(nearest, minlength=count) > 0
            centres[filled] = F.normalize(sums[filled], dim=1)
        self.vq.codebook.weight.copy_(centres)
        self.usage.fill_(1.0)

    def _restart_dead_codes(self, flat: Tensor, ids: Tensor, rng: random.Random) -> None:
        """Moves unused codes to latents, drawn in proportion to the distance from their nearest code."""
        dead = torch.nonzero(self.usage < self.DEAD_BELOW).flatten()
        entries = F.normalize(self.vq.codebook.weight, dim=-1)
        distance = (1.0 - (flat * entries[ids]).sum(dim=1)).clamp(min=0)
        distance = torch.where(distance > 1e-3, distance, 0.0)
        dead = dead[: int((distance > 0).sum())]
        if len(dead):
            generator = torch.Generator().manual_seed(rng.getrandbits(62))
            picked = torch.multinomial(distance.cpu(), len(dead), generator=generator)
            self.vq.codebook.weight[dead] = flat[picked]
            self.usage[dead] = 1.0

    @torch.no_grad()
    def _merge_codes(self) -> None:
        """Sets each code that nearly equals a more used one to zero, so that no latent is nearest to it."""
        entries = F.normalize(self.vq.codebook.weight, dim=-1)
        order = self.usage.argsort(descending=True, stable=True)
        same = (1.0 - entries[order] @ entries[order].T < self.SAME_BELOW).tril(-1)
        merged = torch.zeros(len(order), dtype=torch.bool)
        for rank, same_as in enumerate(same.cpu()):
            merged[rank] = bool((same_as & ~merged).any())
        self.vq.codebook.weight[order[merged.to(order.device)]] = 0.0


def patch_means(latents: Tensor, pixels: Tensor) -> Tensor:
    """Replaces latents [B, h, w, D] by their mean over all patches with the same pixels, of [B, 3, H, W]."""
    patches = F.pixel_unshuffle(pixels, pixels.shape[-1] // latents.shape[2])
    distinct, kinds = torch.unique(patches.permute(0, 2, 3, 1).flatten(0, 2), dim=0, return_inverse=True)
    flat = latents.flatten(0, 2)
    sums = flat.new_zeros(len(distinct), flat.shape[1]).index_add(0, kinds, flat)
    return (sums / torch.bincount(kinds)[:, None])[kinds].view_as(latents)


@torch.no_grad()
def embed_codes(generation: TokenGeneration) -> None:
    """Initialises the language model's embedding of image tokens with their codes at unit variance."""
    codebook = generation.vq.codebook.weight
    generation.embed.weight.copy_(F.normalize(codebook, dim=-1) * codebook.shape[1] ** 0.5)
