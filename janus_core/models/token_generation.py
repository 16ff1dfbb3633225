"""Drawing by VQ tokens: how an image enters the body and leaves it (Janus, arXiv:2410.13848, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import TokenGenerationConfig
from .layers import Projector
from .token_head import TokenHead
from .vq import VQModel


class TokenGeneration(nn.Module):
    """The tokenizer, the embedding of its ids in the body, and the head that predicts them.

    `embed` is a table of its own: it starts from the codebook in training, but is not the codebook.
    """

    def __init__(self, config: TokenGenerationConfig) -> None:
        super().__init__()
        self.config = config
        self.vq = VQModel(config.vq)
        self.embed = nn.Embedding(config.vq.codebook_size, config.vq.codebook_dim)
        self.aligner = Projector(config.aligner)
        self.head = TokenHead(config.head)

    def embed_tokens(self, image_tokens: Tensor) -> Tensor:
        """Maps ids [B, T] to inputs of the body [B, T, C]."""
        return self.aligner(self.embed(image_tokens))

    @property
    def can_decode(self) -> bool:
        """Whether there are pixels behind the tokens: always."""
        return True

    def encode(self, pixels: Tensor) -> Tensor:
        """Maps pixels [B, 3, H, W] in [-1, 1] to ids [B, N], row by row."""
        return self.vq.encode(pixels).flatten(1)

    def decode(self, image_tokens: Tensor) -> Tensor:
        """Maps ids [B, N] to pixels [B, 3, H, W] in [-1, 1].

        N may be any whole number of rows of the model's grid, so that a half-drawn image can be shown.
        """
        grid = image_tokens.view(image_tokens.shape[0], -1, self.config.grid_size)
        return self.vq.decode(grid).float().clamp(-1.0, 1.0)
