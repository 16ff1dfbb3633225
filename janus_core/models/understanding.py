"""The understanding encoder: what the body sees of an image when it is asked about it."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import UnderstandingConfig
from .layers import Projector
from .siglip import SiglipVisionTower


class Understanding(nn.Module):
    """Vision tower and projector (Janus, arXiv:2410.13848, section 3.1)."""

    def __init__(self, config: UnderstandingConfig) -> None:
        super().__init__()
        self.tower = SiglipVisionTower(config.vision)
        self.aligner = Projector(config.aligner)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps normalised [B, 3, S, S] pixels to features [B, N, C_vision] and embeddings [B, N, C]."""
        features = self.tower(pixel_values)
        return features, self.aligner(features)
