"""Autoregressive text generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.cache import KVCache
from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .decoding import prefill
from .logits import TokenSampler, allow_only, check_finite, penalize_repetition
from .options import TextSampling
from .steps import OnStep, ignore_step

# Slots for new tokens by which a cache grows: few answers are as long as `max_new_tokens` allows.
CACHE_GROWTH = 512


def initial_answer_slots(options: TextSampling) -> int:
    """Slots for new tokens that a cache has at first."""
    return min(options.max_new_tokens, CACHE_GROWTH)


def copied_answer_slots(options: TextSampling) -> int | None:
    """Slots for new tokens that are copied when the cache grows for the last time; None if it never does."""
    return (options.max_new_tokens - 1) // CACHE_GROWTH * CACHE_GROWTH or None


@dataclass(frozen=True)
class SampledText:
    """Generated texts, one per sequence.

    Attributes:
        tokens: [B, n] int64 ids; texts that ended early are padded with the first end token.
        lengths: [B] int64, the tokens of each text, including the one that ended it.
        first_probs: [B, K] float32, the probabilities of the K allowed first tokens among each other; None if
            all were allowed.
    """

    tokens: Tensor
    lengths: Tensor
    first_probs: Tensor | None


def sample_text(
    model: Janus,
    prompt: PromptBatch,
    image_embeds: Tensor | None,
    options: TextSampling,
    eos_id: int,
    indices: Sequence[int] | None = None,
    on_step: OnStep = ignore_step,
    cache: KVCache | None = None,
) -> Tensor:
    """The token ids of `generate_text` [B, n], for texts that only `eos_id` ends."""
    return generate_text(model, prompt, image_embeds, options, (eos_id,), indices, on_step, cache).tokens


def generate_text(
    model: Janus,
    prompt: PromptBatch,
    image_embeds: Tensor | None,
    options: TextSampling,
    end_ids: Sequence[int],
    indices: Sequence[int] | None = None,
    on_step: OnStep = ignore_step,
    cache: KVCache | None = None,
    first_ids: Sequence[int] = (),
) -> SampledText:
    """Continues each of the B sequences of a prompt, with its image embeddings [..., C] in reading order.

    Sequence i draws from seed + i, or from seed + `indices[i]` as part of a larger batch. `cache`, if given,
    holds the keys and values of earlier tokens; prompt and texts extend it in place. A text ends with any of
    `end_ids`; with `first_ids`, it starts with one of these.
    """
    batch_size = prompt.input_ids.shape[0]
    # Padding takes no space in the context: a text may be as long as without a batch.
    max_length = model.body.config.max_position_embeddings
    space_left = max_length - 1 - prompt.position_ids[:, -1]
    max_new_tokens = min(options.max_new_tokens, int(space_left.max()))

    inputs_embeds = model.embed_prompt(prompt, image_embeds)
    num_new = min(max_new_tokens, CACHE_GROWTH)
    cache, hidden_states = prefill(model, prompt, inputs_embeds, num_new, cache=cache)
    prompt_end = cache.length
    position_ids = prompt.position_ids[:, -1:]
    sampler = TokenSampler(options, range(batch_size) if indices is None else indices)
    tokens = prompt.input_ids.new_full((batch_size, max_new_tokens), end_ids[0])
    ends = tokens.new_tensor(end_ids)
    lengths = tokens.new_zeros(batch_size)
    finished = torch.zeros(batch_size, dtype=torch.bool, device=tokens.device)
    first_probs = None
    for step in range(max_new_tokens):
        # Draw the next token of every sequence.
        logits = model.body.lm_head(hidden_states[:, -1])
        finite = torch.isfinite(logits).all()
        logits = penalize_repetition(logits, tokens[:, :step], options.repetition_penalty)
        if step == 0 and first_ids:
            first_probs = logits[:, list(first_ids)].float().softmax(dim=-1)
            logits = allow_only(logits, first_ids)
        next_tokens = sampler.draw(logits).masked_fill(finished, end_ids[0])
        tokens[:, step] = next_tokens
        lengths += ~finished
        # A text ends with an end token, or where the context is full.
        finished |= torch.isin(next_tokens, ends) | (space_left == step + 1)
        # One question to the device, for whose answer the host waits.
        is_last = step + 1 == max_new_tokens or bool(finished.all() | ~finite)
        if is_last:
            check_finite(torch.where(finite, 0.0, torch.nan), logits.dtype)
        on_step(step + 1, max_new_tokens, tokens[:, : step + 1])
        if is_last:
            break
        # Read it, in a larger cache if this one is full.
        if cache.length == cache.max_length:
            cache.reserve(min(cache.max_length + CACHE_GROWTH, prompt_end + max_new_tokens))
        position_ids = position_ids + 1
        hidden_states = model.body(model.body.embed(next_tokens[:, None]), position_ids, cache)
    return SampledText(tokens[:, : step + 1], lengths, first_probs)
