"""Training the image tokenizer: pictures through the codebook and back (LlamaGen, arXiv:2406.06525, 2.1)."""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.token_generation import TokenGeneration
from ...models.vq import VQModel
from ...pipeline.pipeline import JanusPipeline
from ..losses import codebook_losses, patch_means, reconstruction_loss
from ..pictures import to_images
from ..recipe import Stage
from ..samples import Data


class TokenizerObjective(nn.Module):
    """Reconstruction through the nearest codes.

    LlamaGen's perceptual and adversarial losses need pretrained networks and many steps; drawings with plain
    areas do without. The first steps pass the latents by the codebook; then the codes start from k-means of
    latents, and codes that nothing uses start again from latents that are far from any code.

    Patches with equal pixels are drawn together, and codes that lie together are joined at the end. Without,
    a plain ground alone had 180 codes, and three quarters of what the body had to predict was which of them.
    """

    # Share of the steps before the codebook, weight of foreground pixels, LlamaGen's beta, and the weight of
    # equal patches being far from each other.
    CONTINUOUS = 0.12
    FOREGROUND = 4.0
    COMMITMENT = 0.25
    EQUAL_PATCHES = 10.0
    RESTART_EVERY = 20
    DEAD_BELOW = 0.02  # uses per step, on average
    SAME_BELOW = 1e-3  # one less the cosine of two codes; those of patches that differ are twice as far apart

    usage: Tensor

    def __init__(self, pipeline: JanusPipeline, stage: Stage, data: Data) -> None:
        super().__init__()
        self.pipeline, self.stage, self.data = pipeline, stage, data
        self.register_buffer("usage", torch.ones(self.vq.config.codebook_size))

    @property
    def vq(self) -> VQModel:
        """The tokenizer at work."""
        vq: VQModel = self.pipeline.model.token_generation.vq
        return vq

    def losses(self, step: int, rng: random.Random) -> dict[str, Tensor]:
        """Losses of one batch; the first is what is made small."""
        vq = self.vq
        pixels = self._pixels(rng, self.stage.batch_size)
        first = round(self.stage.steps * self.CONTINUOUS)
        if step == first:
            # Without autocast, which would also keep what it casts here, where nothing has a gradient.
            with torch.autocast(pixels.device.type, enabled=False):
                self._start_codebook(rng)
        latents = self._latents(pixels)
        equal = F.mse_loss(latents, patch_means(latents, pixels))
        if step < first:
            drawn = vq.decoder(vq.post_quant_conv(latents.permute(0, 3, 1, 2)))
            loss = reconstruction_loss(drawn, pixels, self.FOREGROUND)
            return {"loss": loss + self.EQUAL_PATCHES * equal, "pixels": loss.detach()}
        entries = F.normalize(vq.codebook.weight, dim=-1)
        flat = latents.flatten(0, 2)
        # Without autocast: in bf16 neighbouring codes are one.
        with torch.no_grad(), torch.autocast(flat.device.type, enabled=False):
            ids = (flat @ entries.T).argmax(dim=1)
            used = torch.bincount(ids, minlength=len(entries)).float()
            self.usage.lerp_(used, 0.02)
            if step % self.RESTART_EVERY == 0 and step < 0.7 * self.stage.steps:
                self._restart(flat, ids, rng)
        chosen = F.normalize(vq.codebook(ids), dim=-1).view_as(latents)
        codes, commitment = codebook_losses(latents, chosen)
        straight = latents + (chosen - latents).detach()
        drawn = vq.decoder(vq.post_quant_conv(straight.permute(0, 3, 1, 2)))
        error = reconstruction_loss(drawn, pixels, self.FOREGROUND)
        return {
            "loss": error + codes + self.COMMITMENT * commitment + self.EQUAL_PATCHES * equal,
            "pixels": error.detach(),
            "codes": codes.detach(),
            "used": (used > 0).float().mean(),
        }

    def finish(self) -> None:
        """Joins codes that mean the same, and starts the embedding of tokens in the body from the rest."""
        self._join_codes()
        embed_codes(self.pipeline.model.token_generation)

    @torch.no_grad()
    def _join_codes(self) -> None:
        """Sets codes to zero, which is nearest to nothing, where one lies that is used more."""
        entries = F.normalize(self.vq.codebook.weight, dim=-1)
        order = self.usage.argsort(descending=True, stable=True)
        same = (1.0 - entries[order] @ entries[order].T < self.SAME_BELOW).tril(-1)
        joined = torch.zeros(len(order), dtype=torch.bool)
        for rank, before in enumerate(same.cpu()):
            joined[rank] = bool((before & ~joined).any())
        self.vq.codebook.weight[order[joined.to(order.device)]] = 0.0

    def _pixels(self, rng: random.Random, count: int) -> Tensor:
        images = to_images([self.data.picture(rng) for _ in range(count)])
        return self.pipeline.image_processor.pixels(images).to(self.pipeline.device)

    def _latents(self, pixels: Tensor) -> Tensor:
        latents = self.vq.quant_conv(self.vq.encoder(pixels)).permute(0, 2, 3, 1)
        return F.normalize(latents.float(), dim=-1)

    @torch.no_grad()
    def _start_codebook(self, rng: random.Random) -> None:
        """k-means over unit vectors, from seeds that lie far apart (k-means++)."""
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

    def _restart(self, flat: Tensor, ids: Tensor, rng: random.Random) -> None:
        """Moves codes that nothing uses to latents, the likelier the farther these are from their codes."""
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
def embed_codes(generation: TokenGeneration) -> None:
    """Sets the body's embedding of image tokens to their codes, of unit variance."""
    codebook = generation.vq.codebook.weight
    generation.embed.weight.copy_(F.normalize(codebook, dim=-1) * codebook.shape[1] ** 0.5)
