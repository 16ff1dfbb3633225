"""Sampling the next token from logits: penalties, filters, and draws that do not depend on the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import NoiseStreams
from .options import TextSampling, TokenSampling
from .seeds import seeded_generator


class TokenSampler:
    """Draws tokens for sequences that each have their own random stream.

    The streams are CPU generators, so they are the same on every device and for every split into batches. The
    draw is the exponential race of `torch.multinomial`: on the CPU, one sequence with seed s draws exactly
    what `torch.multinomial` draws after seeding with s.
    """

    def __init__(self, options: TextSampling | TokenSampling, indices: Sequence[int]) -> None:
        """Prepares a stream for each sequence, whose index i in the whole batch makes its seed: seed + i."""
        self.options = options
        self._noise = NoiseStreams([seeded_generator(options.seed, index) for index in indices])

    def draw(self, logits: Tensor) -> Tensor:
        """Maps logits [B, V] to one token per sequence [B]."""
        tokens = self.draw_ahead(logits[:, None])[:, 0]
        self.settle([1] * len(tokens))
        return tokens

    def draw_ahead(self, logits: Tensor) -> Tensor:
        """Maps logits of the next K tokens of every sequence [B, K, V] to these tokens [B, K].

        Some logits may come from guesses: until `settle` counts a token as drawn, it can be drawn again, with
        the same noise.
        """
        if self.options.temperature == 0.0:
            return logits.argmax(dim=-1)
        batch_size, count, _ = logits.shape
        # Float32 because bf16 cannot order thousands of small probabilities. Shifted to a maximum of 0,
        # because a logit divided by a tiny temperature could overflow.
        logits = logits.flatten(0, 1).float()
        kept = keep_likely(
            (logits - logits.amax(dim=-1, keepdim=True)) / self.options.temperature,
            self.options.top_k,
            self.options.top_p,
            getattr(self.options, "min_p", 0.0),
        )
        race = kept.softmax(dim=-1) / self._noise.next(count, logits.shape[-1], logits.device)
        return race.argmax(dim=-1).view(batch_size, count)

    def settle(self, counts: Sequence[int]) -> None:
        """Counts the next tokens of each sequence as drawn."""
        self._noise.settle(counts)


def keep_likely(logits: Tensor, top_k: int, top_p: float, min_p: float = 0.0) -> Tensor:
    """Sets the logits [B, V] float32 of unlikely tokens to -inf; the most likely token always stays."""
    # Keep the k most likely tokens; 0 keeps all.
    if 0 < top_k < logits.shape[-1]:
        smallest_kept = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, -torch.inf)
    # Keep the fewest tokens whose probabilities sum to p (nucleus sampling, arXiv:1904.09751); 1 keeps all.
    if top_p < 1.0:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        dropped = ordered.cumsum(dim=-1) - ordered >= top_p
        dropped[:, 0] = False
        logits = logits.masked_fill(dropped.scatter(1, order, dropped), -torch.inf)
    # Drop tokens less likely than this share of the most likely one (arXiv:2407.01082); 0 drops none.
    if min_p > 0.0:
        probabilities = logits.softmax(dim=-1)
        least = min_p * probabilities.amax(dim=-1, keepdim=True)
        logits = logits.masked_fill(probabilities < least, -torch.inf)
    return logits


def penalize_repetition(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Lowers the logits [B, V] of tokens [B, n] that were already generated, without those of the prompt.

    The penalty (CTRL, arXiv:1909.05858, section 4.1) divides positive logits and multiplies negative ones; 1
    is off.
    """
    if penalty == 1.0 or tokens.shape[1] == 0:
        return logits
    repeated = logits.gather(1, tokens)
    repeated = torch.where(repeated > 0, repeated / penalty, repeated * penalty)
    return logits.scatter(1, tokens, repeated)


def allow_only(logits: Tensor, ids: Sequence[int]) -> Tensor:
    """Sets all logits [B, V] but those of some tokens to -inf."""
    allowed = torch.full_like(logits, -torch.inf)
    allowed[:, list(ids)] = logits[:, list(ids)]
    return allowed


def check_finite(values: Tensor, model_dtype: torch.dtype, name: str = "logits") -> None:
    """Raises RuntimeError if any value is NaN or infinite; dtype and name are for the message."""
    if not bool(torch.isfinite(values).all()):
        overflow = "load the model in bf16 or fp32, since fp16 can overflow"
        other = "check that guidance_scale is in its usual range and that the checkpoint is intact"
        raise RuntimeError(
            f"{name} must be finite, got NaN or infinity from a model in {model_dtype}; "
            f"{overflow if model_dtype is torch.float16 else other}"
        )
