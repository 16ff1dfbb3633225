"""The understanding encoder: embeds images that the model is asked about."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import UnderstandingConfig
from .layers import Projector
from .siglip import SiglipVisionTower


class Understanding(nn.Module):
    """Vision tower and projector (Janus, arXiv:2410.13848, section 3.1).

    JanusFlow (arXiv:2411.07975) puts a learned start embedding before those of the patches.
    """

    def __init__(self, config: UnderstandingConfig) -> None:
        super().__init__()
        self.tower = SiglipVisionTower(config.vision)
        self.aligner = Projector(config.aligner)
        self.start = nn.Embedding(1, config.aligner.hidden_size) if config.start_embedding else None

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Maps normalised [B, 3, S, S] pixels to features [B, N, C_vision] and embeddings [B, N (+ 1), C]."""
        features = self.tower(pixel_values)
        embeds = self.aligner(features)
        if self.start is not None:
            first = torch.zeros(len(embeds), 1, dtype=torch.long, device=embeds.device)
            embeds = torch.cat((self.start(first), embeds), dim=1)
        return features, embeds
