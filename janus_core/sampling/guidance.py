"""Classifier-free guidance."""

from __future__ import annotations

import torch
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


def uses_source(source_scale: float) -> bool:
    """Whether a row without the source's pixels changes anything: at 0 the formula below is `full` alone."""
    return source_scale != 0.0


def guide_edit(outputs: Tensor, guidance_scale: float, source_scale: float) -> Tensor:
    """Guides an edit by what the row without the source's pixels says as well, then as `guide` does.

    The formula is that of Janus-4o's public inference (ShareGPT-4o-Image, arXiv:2506.18095).

    Args:
        outputs: [3B, ...], B rows that hold all of the source, then B without its pixels' tokens, then the B
            unconditional ones; without the second part at source scale 0, without the last at guidance scale
            1.
        guidance_scale: weight of both against the unconditional row.
        source_scale: weight of the second part in `(full + source_scale * part) / (1 + source_scale)`.

    Returns:
        [B, ...].
    """
    if uses_source(source_scale):
        full, part, *uncond = outputs.chunk(3 if uses_guidance(guidance_scale) else 2)
        outputs = torch.cat(((full + source_scale * part) / (1 + source_scale), *uncond))
    return guide(outputs, guidance_scale)
