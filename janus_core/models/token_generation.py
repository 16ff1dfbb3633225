"""Image generation by VQ tokens: tokenizer, embedding and head (Janus, arXiv:2410.13848, section 3.1)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TokenGenerationConfig, TokenHeadConfig
from .layers import Projector
from .vq import VQModel


class TokenGeneration(nn.Module):
    """The image tokenizer, the embedding of its ids for the transformer, and the head that predicts them.

    `embed` is not the codebook: training initialises it from there, but then changes it.
    """

    can_decode = True  # the tokenizer always decodes

    def __init__(self, config: TokenGenerationConfig) -> None:
        super().__init__()
        self.config = config
        self.vq = VQModel(config.vq)
        self.embed = nn.Embedding(config.vq.codebook_size, config.vq.codebook_dim)
        self.aligner = Projector(config.aligner)
        self.head = TokenHead(config.head)

    def embed_tokens(self, image_tokens: Tensor) -> Tensor:
        """Maps ids [B, T] to inputs of the transformer [B, T, C]."""
        return self.aligner(self.embed(image_tokens))

    def encode(self, pixels: Tensor) -> Tensor:
        """Maps pixels [B, 3, H, W] in [-1, 1] to ids [B, N] in raster order."""
        return self.vq.encode(pixels).flatten(1)

    def decode(self, image_tokens: Tensor) -> Tensor:
        """Maps ids [B, N] to pixels [B, 3, H, W] in [-1, 1].

        N may be any multiple of the grid's width, to show an image that is not finished.
        """
        grid = image_tokens.view(image_tokens.shape[0], -1, self.config.grid_size)
        return self.vq.decode(grid).float().clamp(-1.0, 1.0)


class TokenHead(nn.Module):
    """Two-layer perceptron over the VQ codebook (Janus, arXiv:2410.13848, section 3.1)."""

    def __init__(self, config: TokenHeadConfig) -> None:
        super().__init__()
        self.output_mlp_projector = nn.Linear(config.hidden_size, config.image_token_embed)
        self.vision_head = nn.Linear(config.image_token_embed, config.codebook_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps [B, T, C] hidden states to [B, T, V] logits, V being the codebook size."""
        return self.vision_head(F.gelu(self.output_mlp_projector(hidden_states)))
