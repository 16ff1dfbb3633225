"""Layers that several networks share."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ProjectorConfig


class Projector(nn.Module):
    """Linear layers with GELU between them (Janus, arXiv:2410.13848, section 3.1)."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(config.input_size, config.hidden_size)]
        for _ in range(config.depth - 1):
            layers += [nn.GELU(), nn.Linear(config.hidden_size, config.hidden_size)]
        self.layers = nn.Sequential(*layers)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [..., input_size] to [..., hidden_size]."""
        return self.layers(hidden_states)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learned scale (arXiv:1910.07467), in Llama's rounding order."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Normalises the last dimension of [..., C]."""
        return self.normalize(hidden_states, self.weight)

    def normalize(self, hidden_states: Tensor, weight: Tensor) -> Tensor:
        """The normalisation with a given scale [C], which a host that offloads weights may have moved.

        It is computed in float32, because squares overflow fp16. The result is rounded to the input's dtype
        before the scale is applied, as in the reference; given the scale, `F.rms_norm` would round later.
        """
        if hidden_states.dtype is torch.float32:  # no rounding in between
            return F.rms_norm(hidden_states, weight.shape, weight, self.eps)
        values = hidden_states if _rms_norm_rounds_once() else hidden_states.float()
        return weight * F.rms_norm(values, weight.shape, None, self.eps).to(hidden_states.dtype)


@cache
def _rms_norm_rounds_once() -> bool:
    """Whether `F.rms_norm` of 16-bit numbers computes in float32. PyTorch 2.5 rounds in between as well."""
    values = torch.arange(1.0, 65.0, dtype=torch.bfloat16, device="cpu")
    exact = F.rms_norm(values.float(), values.shape).to(values.dtype)
    return torch.equal(F.rms_norm(values, values.shape), exact)


def rotary_angles(
    position_ids: Tensor, head_dim: int, theta: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (RoFormer, arXiv:2104.09864, section 3.2), Llama's half-split.

    Computed from the positions [B, T]: a buffer would stay on `meta` after a meta build, and on the wrong
    device under partial offload. Angles are float32 because bf16 would merge neighbouring positions; the
    result has the dtype of the queries. `theta` is the base of the frequencies, and `head_dim` is even.

    Returns:
        Two tensors [B, 1, T, D]; the first half of the sines is negative, as `rotate` needs it.
    """
    exponents = torch.arange(0, head_dim, 2, device=position_ids.device, dtype=torch.float32) / head_dim
    angles = position_ids[:, None, :, None].float() * (1.0 / theta**exponents)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Applies rotary positions to queries or keys [B, H, T, D]."""
    first, second = states.chunk(2, dim=-1)
    return states * cos + torch.cat((second, first), dim=-1) * sin
