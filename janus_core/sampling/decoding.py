"""Prefill of prompts, and autoregressive decoding of image tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..models.cache import Cache, KVCache, StaggeredCache
from ..models.janus import Janus
from ..models.quantized.registry import exact_vectors, rounds_inputs
from ..prompt_batch import PromptBatch
from .logits import check_finite

Combine = Callable[[Tensor], Tensor]
"""Guidance: combines the logits of all conditions [R * B, K, V] into one per image [B, K, V]."""


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
    """Decodes several images at once: `read` reads their tokens, and `logits` say what may follow these.

    For guidance, each image is decoded under R conditions at once (conditional, unconditional, ...): R
    sequences that read the same image tokens after different prompts.

    Attributes:
        logits: [B, K, V] float32 guided logits after K of the tokens read last; at first, [B, 1, V] of the
            token after the prompt and `start`.
        hidden_states: [B, T, C] of the tokens read last, under the first condition.
        passes: how often the model has read tokens after the prompt.
    """

    def __init__(
        self,
        model: Janus,
        prompt: PromptBatch,
        inputs_embeds: Tensor,
        combine: Combine,
        num_images: int,
        start: Tensor | None = None,
        num_sources: int = 1,
        cache: KVCache | None = None,
    ) -> None:
        """Reads prompts once each; B = `num_images` images are decoded, equally many of each prompt.

        The prompts have R sequences each, embedded as [R * S, T, C]: S = `num_sources` adjacent ones for each
        condition. The images of a prompt are adjacent. `start` [S, n] holds the tokens that they begin with.
        `cache` holds what comes before the prompts, and is extended in place.
        """
        self._body, self._generation, self._combine = model.body, model.token_generation, combine
        self._num_conditions, self._num_images = len(inputs_embeds) // num_sources, num_images
        num_read = 0
        if start is not None:
            start_embeds = self._generation.embed_tokens(start).repeat(self._num_conditions, 1, 1)
            inputs_embeds = torch.cat((inputs_embeds, start_embeds), dim=1)
            num_read = start.shape[1]

        # The images of one condition are adjacent: (condition 0, image 0), (condition 0, image 1), ...
        num_tokens = self._generation.config.num_tokens
        copies = num_images // num_sources
        self._cache, hidden_states = prefill(
            model, prompt, inputs_embeds, num_tokens - num_read, copies, cache
        )
        # So that an image does not depend on the tokens and images that are read beside its own.
        self._cache.exact = rounds_inputs(self._body)
        self._tokens_at_once = max(1, min(exact_vectors(self._body) // self.num_sequences, num_tokens))
        self.passes = 0
        self._prompt_length = self._cache.length - num_read
        self._staggered: StaggeredCache | None = None
        self._position_ids = prompt.next_positions(num_tokens).repeat_interleave(copies, dim=0)
        self.hidden_states = hidden_states[:num_images]
        self.logits = self._guided_logits(hidden_states)
        # Fail early instead of after a whole image.
        check_finite(self.logits, self.hidden_states.dtype)
        self._finite = torch.ones((), dtype=torch.bool, device=self.logits.device)

    @property
    def num_sequences(self) -> int:
        """Sequences that are read at once: R * B."""
        return self._num_conditions * self._num_images

    def read(self, tokens: Tensor, starts: Sequence[int], after: Tensor | None = None) -> None:
        """Reads T tokens of each image [B, T], from its token number `starts[image]` on.

        Tokens that were read there before, and after there, are forgotten. Tokens past an image's end have no
        effect. `logits` become those after tokens number `after` [B, K] of the T, by default the last one.
        """
        parts = tokens.split(self._tokens_at_once, dim=1)
        firsts = [[start + part * self._tokens_at_once for start in starts] for part in range(len(parts))]
        states = [self._read(part, first) for part, first in zip(parts, firsts, strict=True)]
        hidden_states = states[0] if len(states) == 1 else torch.cat(states, dim=1)
        self.hidden_states = hidden_states[: self._num_images]
        if after is None:
            self.logits = self._guided_logits(hidden_states[:, -1:])
        else:
            index = after.repeat(self._num_conditions, 1)[..., None].expand(-1, -1, hidden_states.shape[2])
            self.logits = self._guided_logits(hidden_states.gather(1, index))
        # Only noted here and checked at the end: asking the device at each step would stall it.
        self._finite &= torch.isfinite(self.logits).all()

    def _read(self, tokens: Tensor, starts: Sequence[int]) -> Tensor:
        """Hidden states [R * B, T, C] of tokens that are read in one pass."""
        self.passes += 1
        position_ids, cache = self._place(starts, tokens.shape[1])
        # All conditions read the same image tokens.
        inputs_embeds = self._generation.embed_tokens(tokens).repeat(self._num_conditions, 1, 1)
        states: Tensor = self._body(inputs_embeds, position_ids, cache)
        return states

    def check_finite(self) -> None:
        """Raises RuntimeError if the logits of any step were NaN or infinite."""
        check_finite(torch.where(self._finite, 0.0, torch.nan), self.hidden_states.dtype)

    def _place(self, starts: Sequence[int], num_new: int) -> tuple[Tensor, Cache]:
        """Position ids [R * B, T] of tokens that begin at some number, and the cache for them."""
        first = starts[0]
        if all(start == first for start in starts):
            self._cache.rewind(self._prompt_length + first)
            return self._position_ids[:, first : first + num_new], self._cache
        if self._staggered is None:
            self._staggered = StaggeredCache(self._cache)
        last = self._position_ids.shape[1] - 1
        numbers = torch.tensor(starts, device=self.logits.device)[:, None]
        numbers = (numbers + torch.arange(num_new, device=self.logits.device)).clamp(max=last)
        numbers = numbers.repeat(self._num_conditions, 1)
        self._staggered.place(
            self._prompt_length + numbers, min(max(starts) + num_new, last + 1) + self._prompt_length
        )
        return self._position_ids.gather(1, numbers), self._staggered

    def _guided_logits(self, hidden_states: Tensor) -> Tensor:
        """Maps hidden states [R * B, K, C] to guided logits [B, K, V]."""
        # The reference guides in the model's dtype; float32 here, so that bf16 rounds only once.
        return self._combine(self._generation.head(hidden_states).float())
