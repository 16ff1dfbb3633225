"""What each kind of training makes small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def foreground_weights(pixels: Tensor, extra: float) -> Tensor:
    """Weights [B, 1, H, W] of a picture's pixels: 1, and `extra` more where it differs from its median.

    Plain ground is most of a drawing and soon learnt; what stands on it is what counts.
    """
    ground = pixels.flatten(2).median(dim=2).values[..., None, None]
    return 1.0 + extra * ((pixels - ground).abs().amax(dim=1, keepdim=True) > 0.15).to(pixels.dtype)


def reconstruction_loss(drawn: Tensor, pixels: Tensor, extra: float) -> Tensor:
    """Absolute and squared error of pixels [B, 3, H, W], weighted by `foreground_weights`."""
    error = (drawn - pixels).abs()
    weights = foreground_weights(pixels, extra)
    return (weights * (error + error.square())).mean() / weights.mean()


def codebook_losses(latents: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
    """Codebook and commitment loss of VQ-VAE (arXiv:1711.00937, equation 3).

    Args:
        latents: [..., D] unit vectors of the encoder.
        entries: [..., D] unit vectors of the nearest codes.
    """
    return F.mse_loss(entries, latents.detach()), F.mse_loss(latents, entries.detach())


def patch_means(latents: Tensor, pixels: Tensor) -> Tensor:
    """For each patch, the mean latent [B, h, w, D] of all patches of a batch that have the very same pixels.

    A latent also knows what surrounds its patch. Where one plain patch comes again and again, as in drawings,
    that spreads it over many codes.

    Args:
        latents: [B, h, w, D].
        pixels: [B, 3, H, W].
    """
    patches = F.pixel_unshuffle(pixels, pixels.shape[-1] // latents.shape[2])
    distinct, kinds = torch.unique(patches.permute(0, 2, 3, 1).flatten(0, 2), dim=0, return_inverse=True)
    flat = latents.flatten(0, 2)
    sums = flat.new_zeros(len(distinct), flat.shape[1]).index_add(0, kinds, flat)
    return (sums / torch.bincount(kinds)[:, None])[kinds].view_as(latents)


def sigmoid_loss(logits: Tensor, true: Tensor) -> Tensor:
    """SigLIP's loss (arXiv:2303.15343, algorithm 1): of each image and text, whether they belong together.

    Args:
        logits: [B, T] of images and texts; above 0 where they are held to.
        true: [B, T] bool, whether they do.
    """
    return F.binary_cross_entropy_with_logits(logits, true.to(logits.dtype), reduction="sum") / len(logits)
