"""The whole model: one body between an understanding encoder and a way of drawing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..config import FlowGenerationConfig, JanusConfig, TokenGenerationConfig
from ..prompt_batch import PromptBatch
from .flow_generation import FlowGeneration
from .llama import Llama
from .token_generation import TokenGeneration
from .understanding import Understanding

# The first of the two dispatches between ways of drawing; `sampling` holds the second.
GENERATION_CLASSES: dict[type, Callable[..., Any]] = {
    TokenGenerationConfig: TokenGeneration,
    FlowGenerationConfig: FlowGeneration,
}


class Janus(nn.Module):
    """Decoupled encoders around one transformer (Janus, arXiv:2410.13848, figure 2)."""

    def __init__(self, config: JanusConfig) -> None:
        super().__init__()
        self.config = config
        self.understanding = Understanding(config.understanding)
        self.body = Llama(config.body)
        self.generation = GENERATION_CLASSES[type(config.generation)](config.generation)

    def embed_prompt(self, prompt: PromptBatch, image_embeds: Tensor | None = None) -> Tensor:
        """Embeds a prompt and puts images where it asks for them.

        Args:
            prompt: B rows of T tokens.
            image_embeds: [..., C] image embeddings in reading order, as many as `prompt.image_mask` has True;
                None for text alone.

        Returns:
            [B, T, C] inputs of the body.
        """
        inputs_embeds = self.body.embed(prompt.input_ids)
        if image_embeds is None:
            return inputs_embeds
        source = image_embeds.to(inputs_embeds.dtype)
        return inputs_embeds.masked_scatter(prompt.image_mask[..., None], source)
