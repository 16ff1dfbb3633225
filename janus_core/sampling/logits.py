"""From logits to the next token: penalties, cut-offs, and a draw that does not depend on the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .options import TextSampling, TokenSampling
from .seeds import row_generator


class TokenDrawer:
    """Draws tokens for rows that each have a random stream of their own.

    A row's stream is a CPU generator, so it is the same on every device, for every batch size and every
    split. The draw is the exponential race of `torch.multinomial`: on the CPU, one row with seed s draws
    exactly what `torch.multinomial` draws after seeding with s.
    """

    def __init__(self, options: TextSampling | TokenSampling, rows: Sequence[int]) -> None:
        """Prepares one stream per row.

        Args:
            options: temperature, top_k, top_p, min_p where it has one, and seed.
            rows: the index of each row in the whole batch; row i draws from `options.seed + i`.
        """
        self.options = options
        self.generators = [row_generator(options.seed, row) for row in rows]

    def draw(self, logits: Tensor) -> Tensor:
        """Maps logits [B, V] to one token per row [B].

        The softmax is float32 because bf16 cannot order thousands of small probabilities.
        """
        if self.options.temperature == 0.0:
            return logits.argmax(dim=-1)
        # From the largest down: a small temperature divides it to 0, where it would overflow.
        logits = logits.float()
        kept = keep_likely(
            (logits - logits.amax(dim=-1, keepdim=True)) / self.options.temperature,
            self.options.top_k,
            self.options.top_p,
            getattr(self.options, "min_p", 0.0),
        )
        # On the generators' device, and not in torch's default dtype, which a host may have changed. A copy
        # out of pinned memory waits for nothing: the GPU goes on with what it has been given.
        noise = torch.empty(logits.shape, device="cpu", dtype=torch.float32, pin_memory=logits.is_cuda)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        noise = noise.to(logits.device, non_blocking=logits.is_cuda)
        return (kept.softmax(dim=-1) / noise).argmax(dim=-1)


def keep_likely(logits: Tensor, top_k: int, top_p: float, min_p: float = 0.0) -> Tensor:
    """Sets the logits of unlikely tokens to -inf; the likeliest token always stays.

    Args:
        logits: [B, V] float32.
        top_k: keeps the k likeliest; 0 keeps all.
        top_p: keeps the fewest tokens whose probabilities sum to p (nucleus sampling, arXiv:1904.09751); 1
            keeps all.
        min_p: drops tokens less likely than this share of the likeliest (arXiv:2407.01082); 0 drops none.
    """
    if 0 < top_k < logits.shape[-1]:
        smallest_kept = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True)
        dropped = ordered.cumsum(dim=-1) - ordered >= top_p
        dropped[:, 0] = False
        logits = logits.masked_fill(dropped.scatter(1, order, dropped), -torch.inf)
    if min_p > 0.0:
        probabilities = logits.softmax(dim=-1)
        logits = logits.masked_fill(
            probabilities < min_p * probabilities.amax(dim=-1, keepdim=True), -torch.inf
        )
    return logits


def penalize_repetition(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Makes tokens that were already written less likely (CTRL, arXiv:1909.05858, section 4.1).

    Args:
        logits: [B, V].
        tokens: [B, n] written so far; the prompt does not count.
        penalty: divides positive logits and multiplies negative ones; 1 is off.
    """
    if penalty == 1.0 or tokens.shape[1] == 0:
        return logits
    written = logits.gather(1, tokens)
    written = torch.where(written > 0, written / penalty, written * penalty)
    return logits.scatter(1, tokens, written)


def check_finite(values: Tensor, model_dtype: torch.dtype, name: str = "logits") -> None:
    """Stops a run whose numbers broke.

    Args:
        values: of any shape.
        model_dtype: what the model computes in.
        name: of the values.

    Raises:
        RuntimeError: if any value is NaN or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        overflow = "load the model in bf16 or fp32, since fp16 can overflow"
        other = "check that guidance_scale is in its usual range and that the checkpoint is intact"
        raise RuntimeError(
            f"{name} must be finite, got NaN or infinity from a model in {model_dtype}; "
            f"{overflow if model_dtype is torch.float16 else other}"
        )
