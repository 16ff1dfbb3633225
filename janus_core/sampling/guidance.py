"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor


def uses_guidance(guidance_scale: float) -> bool:
    """Whether the unconditional sequence has any effect: at scale 1, `guide` returns `cond`."""
    return guidance_scale != 1.0


def guide(outputs: Tensor, guidance_scale: float) -> Tensor:
    """Extrapolates from the unconditional to the conditional output [B, ...] (arXiv:2207.12598, equation 6).

    `outputs` are the B conditional ones, then the B unconditional ones; at scale 1, only the former.
    """
    if not uses_guidance(guidance_scale):
        return outputs
    cond, uncond = outputs.chunk(2)
    return uncond + guidance_scale * (cond - uncond)


def uses_source(source_scale: float) -> bool:
    """Whether the partial condition has any effect: at scale 0, `guide_edit` uses only `full`."""
    return source_scale != 0.0


def guide_edit(outputs: Tensor, guidance_scale: float, source_scale: float) -> Tensor:
    """Mixes in the partial condition (a prompt without the source's tokens), then guides as `guide` does.

    The formula is that of Janus-4o's public inference (ShareGPT-4o-Image, arXiv:2506.18095).

    Args:
        outputs: [3B, ...], B of the full, then of the partial, then of the unconditional prompt; without the
            partial ones at source scale 0, without the unconditional ones at guidance scale 1.
        guidance_scale: as in `guide`.
        source_scale: weight of the partial condition: `(full + source_scale * part) / (1 + source_scale)`.

    Returns:
        [B, ...].
    """
    if uses_source(source_scale):
        full, part, *uncond = outputs.chunk(3 if uses_guidance(guidance_scale) else 2)
        outputs = torch.cat(((full + source_scale * part) / (1 + source_scale), *uncond))
    return guide(outputs, guidance_scale)
