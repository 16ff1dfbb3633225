"""The full model: one transformer between an understanding encoder and an image generator."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from ..config import FlowGenerationConfig, JanusConfig, TokenGenerationConfig
from ..prompt_batch import PromptBatch
from .flow_generation import FlowGeneration
from .llama import Llama
from .token_generation import TokenGeneration
from .understanding import Understanding

# `sampling.image_sampler.IMAGE_SAMPLERS` holds the sampler of each.
GENERATION_CLASSES: dict[type, type[Any]] = {
    TokenGenerationConfig: TokenGeneration,
    FlowGenerationConfig: FlowGeneration,
}


class ImageGeneration(Protocol):
    """What token and flow generation have in common; an image's codes are its tokens or latents."""

    @property
    def config(self) -> TokenGenerationConfig | FlowGenerationConfig:
        """Sizes of the generator."""

    @property
    def can_decode(self) -> bool:
        """Whether the model can map between pixels and codes."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Maps pixels [B, 3, H, W] in [-1, 1] to codes [B, N] or [B, 4, h, w]."""

    def decode(self, codes: Tensor, /) -> Tensor:
        """Maps codes to pixels [B, 3, H, W] in [-1, 1]."""


class Janus(nn.Module):
    """Decoupled encoders around one transformer (Janus, arXiv:2410.13848, figure 2)."""

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.config = config
        self.understanding = Understanding(config.understanding)
        self.body = Llama(config.body)
        self.generation: ImageGeneration = GENERATION_CLASSES[type(config.generation)](config.generation)

    @property
    def token_generation(self) -> TokenGeneration:
        """The `generation` of a model that generates image tokens."""
        assert isinstance(self.generation, TokenGeneration)
        return self.generation

    @property
    def flow_generation(self) -> FlowGeneration:
        """The `generation` of a model that generates by flow."""
        assert isinstance(self.generation, FlowGeneration)
        return self.generation

    def embed_prompt(self, prompt: PromptBatch, image_embeds: Tensor | None = None) -> Tensor:
        """Embeds a prompt as inputs [B, T, C] of the transformer.

        Image embeddings [..., C], in reading order, replace those where `prompt.image_mask` is True.
        """
        inputs_embeds = self.body.embed(prompt.input_ids)
        if image_embeds is None:
            return inputs_embeds
        source = image_embeds.to(inputs_embeds.dtype)
        return inputs_embeds.masked_scatter(prompt.image_mask[..., None], source)
