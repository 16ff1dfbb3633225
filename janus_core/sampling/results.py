"""What drawing gives back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GeneratedImages:
    """Images drawn by tokens.

    Attributes:
        images: [B, H, W, 3] float32 in [0, 1].
        tokens: [B, N] int64 codebook ids, row by row.
    """

    images: Tensor
    tokens: Tensor

    def select(self, rows: Tensor) -> GeneratedImages:
        """Some of them, by their indices [n], in that order."""
        return GeneratedImages(self.images[rows], self.tokens[rows])


@dataclass(frozen=True)
class EditedImages:
    """Images made of another one.

    Attributes:
        images: [B, H, W, 3] float32 in [0, 1].
        tokens: [B, N] int64 codebook ids of the model's whole square, row by row.
        changed: [B, H, W] float32, 1 where the image may differ from its source and 0 where it does not; of
            an instruction, 1 where other tokens were drawn, beside which pixels differ a little as well.
    """

    images: Tensor
    tokens: Tensor
    changed: Tensor


@dataclass(frozen=True)
class GeneratedLatents:
    """Images drawn by a flow.

    Attributes:
        images: [B, H, W, 3] float32 in [0, 1]; None where the model has no VAE, or pixels were not asked for.
        latents: [B, 4, h, w] float32 in the space that the flow integrates: a VAE's, times its scaling
            factor.
    """

    images: Tensor | None
    latents: Tensor

    def select(self, rows: Tensor) -> GeneratedLatents:
        """Some of them, by their indices [n], in that order."""
        return GeneratedLatents(None if self.images is None else self.images[rows], self.latents[rows])
