"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def uses_guidance(guidance_scale: float) -> bool:
    """Whether a second, unconditional row changes anything: at scale 1 the formula below is `cond` alone."""
    return guidance_scale != 1.0


def guide(outputs: Tensor, guidance_scale: float) -> Tensor:
    """Moves from the unconditional output past the conditional one (arXiv:2207.12598, equation 6).

    Args:
        outputs: [2B, ...], the B conditional rows first, then the B unconditional ones; or [B, ...] at scale
            1.
        guidance_scale: `uncond + guidance_scale * (cond - uncond)`.

    Returns:
        [B, ...].
    """
    if not uses_guidance(guidance_scale):
        return outputs
    cond, uncond = outputs.chunk(2)
    return uncond + guidance_scale * (cond - uncond)
