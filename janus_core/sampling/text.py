"""Writing an answer, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.cache import KVCache
from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .logits import TokenDrawer, check_finite, penalize_repetition
from .options import TextSampling
from .steps import OnStep, ignore_step

# New tokens that a cache is made for at first, and by which it grows: few answers are as long as they may be.
ROOM_AT_ONCE = 512


def answer_room(options: TextSampling) -> int:
    """New tokens that a cache is made for at first."""
    return min(options.max_new_tokens, ROOM_AT_ONCE)


def sample_text(
    model: Janus,
    prompt: PromptBatch,
    image_embeds: Tensor | None,
    options: TextSampling,
    eos_id: int,
    rows: Sequence[int] | None = None,
    on_step: OnStep = ignore_step,
    cache: KVCache | None = None,
) -> Tensor:
    """Answers each row of a prompt.

    Args:
        model: the model; it computes where the prompt lies.
        prompt: B left-padded rows.
        image_embeds: [..., C] embeddings for the prompt's image positions, in reading order.
        options: length and randomness.
        eos_id: the token that ends a row.
        rows: index of each row in a larger batch, for its seed; 0, 1, … by default.
        on_step: told of every step; may raise to cancel.
        cache: what the B rows have read before the prompt, whose positions go on from there; the prompt and
            the answers are added to it. Nothing by default.

    Returns:
        [B, n] int64 token ids; a row that ended early is filled up with `eos_id`.
    """
    config = model.body.config
    batch_size = prompt.input_ids.shape[0]
    # Padding takes no room in the context: a row ends where it would end alone.
    room = config.max_position_embeddings - 1 - prompt.position_ids[:, -1]
    max_new_tokens = min(options.max_new_tokens, int(room.max()))
    drawer = TokenDrawer(options, range(batch_size) if rows is None else rows)

    inputs_embeds = model.embed_prompt(prompt, image_embeds)
    if cache is None:
        cache = model.body.new_cache(batch_size, 0, inputs_embeds.device)
    prompt_end = cache.length + prompt.length
    cache.reserve(prompt_end + min(max_new_tokens, ROOM_AT_ONCE))
    if prompt.padded:
        cache.mark(prompt.attention_mask)
    hidden_states = model.body(inputs_embeds, prompt.position_ids, cache)
    position_ids = prompt.position_ids[:, -1:]
    tokens = prompt.input_ids.new_full((batch_size, max_new_tokens), eos_id)
    finished = torch.zeros(batch_size, dtype=torch.bool, device=tokens.device)
    for step in range(max_new_tokens):
        logits = model.body.lm_head(hidden_states[:, -1])
        check_finite(logits, logits.dtype)
        logits = penalize_repetition(logits, tokens[:, :step], options.repetition_penalty)
        next_tokens = drawer.draw(logits).masked_fill(finished, eos_id)
        tokens[:, step] = next_tokens
        finished |= (next_tokens == eos_id) | (room == step + 1)
        on_step(step + 1, max_new_tokens, tokens[:, : step + 1])
        if step + 1 == max_new_tokens or bool(finished.all()):
            break
        position_ids = position_ids + 1
        if cache.length == cache.max_length:
            cache.reserve(min(cache.max_length + ROOM_AT_ONCE, prompt_end + max_new_tokens))
        hidden_states = model.body(model.body.embed(next_tokens[:, None]), position_ids, cache)
    return tokens[:, : step + 1]
