"""Log-likelihoods of given continuations of a text prompt."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .decoding import prefill
from .logits import check_finite


def log_likelihoods(
    model: Janus, prompt: PromptBatch, image_embeds: Tensor | None, continuations: Sequence[Sequence[int]]
) -> Tensor:
    """Sums the log-probabilities of the tokens of K continuations, the same for all B sequences of a prompt.

    The prompt is read once, with its image embeddings [..., C] in reading order: the cache is rewound to its
    end for each continuation. Continuations have at least one token each, and may differ in length.

    Returns:
        [B, K] float32 natural logarithms, at most 0. The end of a continuation counts only if it includes the
        token that ends an answer.
    """
    batch_size = prompt.input_ids.shape[0]
    longest = max(len(continuation) for continuation in continuations)
    # The last token of a continuation predicts nothing, so it is never read.
    inputs_embeds = model.embed_prompt(prompt, image_embeds)
    cache, hidden_states = prefill(model, prompt, inputs_embeds, num_new=longest - 1)
    first = _log_probs(model, hidden_states)[:, 0]
    sums = []
    for continuation in continuations:
        tokens = torch.tensor(continuation, device=prompt.input_ids.device)
        log_prob = first[:, tokens[0]]
        if len(tokens) > 1:
            cache.rewind(prompt.length)
            embeds = model.body.embed(tokens[:-1]).expand(batch_size, -1, -1)
            hidden_states = model.body(embeds, prompt.next_positions(len(tokens) - 1), cache)
            chosen = tokens[1:].expand(batch_size, -1)[..., None]
            later = _log_probs(model, hidden_states).gather(2, chosen)[..., 0]
            log_prob = log_prob + later.sum(dim=1)
        sums.append(log_prob)
    return torch.stack(sums, dim=1)


def _log_probs(model: Janus, hidden_states: Tensor) -> Tensor:
    """[B, T, V] of the token after each position; float32 because bf16 would merge close ones."""
    logits = model.body.lm_head(hidden_states)
    check_finite(logits, logits.dtype)
    return logits.float().log_softmax(dim=-1)
