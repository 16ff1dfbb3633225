"""How likely a model holds given texts to be, where it would write its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .logits import check_finite


def log_likelihoods(
    model: Janus, prompt: PromptBatch, image_embeds: Tensor | None, continuations: Sequence[Sequence[int]]
) -> Tensor:
    """Sums the log-probabilities of the tokens of each continuation, every one read right after the prompt.

    The prompt is read once: the cache goes back behind it for each continuation, which is exact, because
    attention is causal, and takes no more memory for many continuations than for one.

    Args:
        model: the model; it computes where the prompt lies.
        prompt: B left-padded rows.
        image_embeds: [..., C] embeddings for the prompt's image positions, in reading order.
        continuations: K rows of at least one token id each, of any lengths; the same for all rows.

    Returns:
        [B, K] float32 natural logarithms, 0 at most. A continuation's end counts only if it holds the token
        that ends an answer.
    """
    batch_size = prompt.input_ids.shape[0]
    longest = max(len(continuation) for continuation in continuations)
    inputs_embeds = model.embed_prompt(prompt, image_embeds)
    visible = prompt.attention_mask if prompt.padded else None
    cache = model.body.new_cache(batch_size, prompt.length + longest - 1, inputs_embeds.device, visible)
    hidden_states = model.body(inputs_embeds, prompt.position_ids, cache)[:, -1:]
    first = _log_probabilities(model, hidden_states)
    sums = []
    for continuation in continuations:
        tokens = torch.tensor(continuation, device=prompt.input_ids.device)
        told = first[:, 0, tokens[0]]
        if len(tokens) > 1:
            cache.rewind(prompt.length)
            steps = torch.arange(1, len(tokens), device=tokens.device)
            embeds = model.body.embed(tokens[:-1]).expand(batch_size, -1, -1)
            hidden_states = model.body(embeds, prompt.position_ids[:, -1:] + steps, cache)
            later = _log_probabilities(model, hidden_states)
            told = told + later.gather(2, tokens[1:].expand(batch_size, -1)[..., None])[..., 0].sum(dim=1)
        sums.append(told)
    return torch.stack(sums, dim=1)


def _log_probabilities(model: Janus, hidden_states: Tensor) -> Tensor:
    """[B, T, V] of the token behind each position; float32, for bf16 would round close ones together."""
    logits = model.body.lm_head(hidden_states)
    check_finite(logits, logits.dtype)
    return logits.float().log_softmax(dim=-1)
