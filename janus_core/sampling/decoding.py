"""Prefill of prompts, and autoregressive decoding of image tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.cache import Cache, KVCache
from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .cuda_graph import CapturedStep
from .logits import check_finite

Combine = Callable[[Tensor], Tensor]
"""Guidance: combines the logits of all conditions [R * B, V] into one per image [B, V]."""


def prefill(
    model: Janus,
    prompt: PromptBatch,
    inputs_embeds: Tensor,
    num_new: int = 0,
    copies: int = 1,
    cache: KVCache | None = None,
) -> tuple[KVCache, Tensor]:
    """Reads the embeddings [B, T or more, C] of a prompt, and of any tokens that follow it, into a KV cache.

    The cache has `num_new` free slots after them. `cache`, if given, holds the keys and values of earlier
    tokens and is extended in place; with `copies` (several images of one prompt), the result is a new one.

    Returns:
        The cache of B * copies sequences, copies of one adjacent; the last token's hidden states [.., 1, C].
    """
    batch_size, length, _ = inputs_embeds.shape
    after = prompt.next_positions(length - prompt.length)
    position_ids = torch.cat((prompt.position_ids, after), dim=1)
    if cache is None:
        cache = model.body.new_cache(batch_size, 0, inputs_embeds.device)
    end = cache.length + length
    cache.reserve(end if copies > 1 else end + num_new)
    if prompt.padded:
        cache.mark_padding(prompt.attention_mask)
    hidden_states = model.body(inputs_embeds, position_ids, cache)[:, -1:]
    if copies > 1:
        cache = cache.repeat(copies, end + num_new)
        hidden_states = hidden_states.repeat_interleave(copies, dim=0)
    return cache, hidden_states


class ImageDecoder:
    """Decodes several images at once: `logits` for the next token, `append` for the sampled ones.

    For guidance, each image is decoded under R conditions at once (conditional, unconditional, ...): R
    sequences that read the same image tokens after different prompts.

    Attributes:
        logits: [B, V] float32 guided logits of the next token.
        hidden_states: [B, T, C] of the tokens appended last, under the first condition.
    """

    def __init__(
        self,
        model: Janus,
        prompt: PromptBatch,
        inputs_embeds: Tensor,
        combine: Combine,
        num_images: int,
        start: Tensor | None = None,
        capture: bool = False,
        num_sources: int = 1,
        cache: KVCache | None = None,
    ) -> None:
        """Reads prompts once each; B = `num_images` images are decoded, equally many of each prompt.

        The prompts have R sequences each, embedded as [R * S, T, C]: S = `num_sources` adjacent ones for each
        condition. The images of a prompt are adjacent. `start` [S, n] holds the tokens that they begin with.
        With `capture`, decode steps replay CUDA graphs. `cache` holds what comes before the prompts, and is
        extended in place.
        """
        self._body, self._generation, self._combine = model.body, model.token_generation, combine
        self._num_conditions, self._num_images = len(inputs_embeds) // num_sources, num_images
        self._num_read = 0
        if start is not None:
            start_embeds = self._generation.embed_tokens(start).repeat(self._num_conditions, 1, 1)
            inputs_embeds = torch.cat((inputs_embeds, start_embeds), dim=1)
            self._num_read = start.shape[1]

        # The images of one condition are adjacent: (condition 0, image 0), (condition 0, image 1), ...
        num_tokens = self._generation.config.num_tokens
        num_new = num_tokens - self._num_read
        copies = num_images // num_sources
        self._cache, hidden_states = prefill(model, prompt, inputs_embeds, num_new, copies, cache)
        self._position_ids = prompt.next_positions(num_tokens).repeat_interleave(copies, dim=0)
        self._captured = CapturedStep(self._cache) if capture else None
        self.hidden_states = hidden_states[:num_images]
        self.logits = self._guided_logits(hidden_states)
        # Fail early instead of after a whole image.
        check_finite(self.logits, self.hidden_states.dtype)
        self._finite = torch.ones((), dtype=torch.bool, device=self.logits.device)

    def append(self, tokens: Tensor) -> None:
        """Reads the images' next tokens [B, T]."""
        end = self._num_read + tokens.shape[1]
        position_ids = self._position_ids[:, self._num_read : end]
        if self._captured is not None and tokens.shape[1] == 1:
            # Pass `_read` each time; storing it would create a reference cycle that keeps the cache alive.
            hidden_states, self.logits = self._captured(self._read, tokens, position_ids)
        else:
            hidden_states, self.logits = self._read(tokens, position_ids, self._cache)
        self.hidden_states = hidden_states[: self._num_images]
        self._num_read = end
        # Only noted here and checked at the end: asking the device at each step would stall it.
        self._finite &= torch.isfinite(self.logits).all()

    def check_finite(self) -> None:
        """Raises RuntimeError if the logits of any step were NaN or infinite."""
        check_finite(torch.where(self._finite, 0.0, torch.nan), self.hidden_states.dtype)

    def _read(self, tokens: Tensor, position_ids: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Hidden states [R * B, T, C] of new tokens [B, T], and guided logits [B, V] after the last."""
        # All conditions read the same image tokens.
        inputs_embeds = self._generation.embed_tokens(tokens).repeat(self._num_conditions, 1, 1)
        hidden_states = self._body(inputs_embeds, position_ids, cache)
        return hidden_states, self._guided_logits(hidden_states[:, -1:])

    def _guided_logits(self, hidden_states: Tensor) -> Tensor:
        """Maps hidden states [R * B, 1, C] to guided logits [B, V]."""
        # The reference guides in the model's dtype; float32 here, so that bf16 rounds only once.
        return self._combine(self._generation.head(hidden_states)[:, -1].float())
