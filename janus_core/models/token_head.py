"""From the body's hidden states to the next image token."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TokenHeadConfig


class TokenHead(nn.Module):
    """Two-layer perceptron over the VQ codebook (Janus, arXiv:2410.13848, section 3.1)."""

    def __init__(self, config: TokenHeadConfig) -> None:
        super().__init__()
        self.output_mlp_projector = nn.Linear(config.hidden_size, config.image_token_embed)
        self.vision_head = nn.Linear(config.image_token_embed, config.codebook_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [B, T, C] hidden states to [B, T, V] logits, V being the codebook size."""
        return self.vision_head(F.gelu(self.output_mlp_projector(hidden_states)))
