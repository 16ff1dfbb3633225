"""How far a decoded picture is from the original, for both image autoencoders."""

from __future__ import annotations

from torch import Tensor


def reconstruction_error(decoded: Tensor, pixels: Tensor, extra: float) -> Tensor:
    """Returns the weighted absolute plus squared error of decoded pixels [B, 3, H, W]."""
    error = (decoded - pixels).abs()
    weights = foreground_weights(pixels, extra)
    return (weights * (error + error.square())).mean() / weights.mean()


def foreground_weights(pixels: Tensor, extra: float) -> Tensor:
    """Returns pixel weights [B, 1, H, W]: 1 for the background, the median colour, and 1 + extra elsewhere.

    The plain background is most of a drawing and is learnt early.
    """
    background = pixels.flatten(2).median(dim=2).values[..., None, None]
    return 1.0 + extra * ((pixels - background).abs().amax(dim=1, keepdim=True) > 0.15).to(pixels.dtype)
