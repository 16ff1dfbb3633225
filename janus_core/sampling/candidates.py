"""Several draws of the same hole in an image, and which of them fits what stands behind it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# From one candidate's random stream to the next one's: 2**32 over the golden ratio, which spreads them
# evenly, far from the streams of other images. The CPU's generator reads the lower 32 bits of a seed only.
CANDIDATE_STRIDE = 2_654_435_761


def candidate_rows(image: int, candidates: int) -> list[int]:
    """Indices of an image's candidates among all random streams; candidate 0 has the image's own."""
    return [image + candidate * CANDIDATE_STRIDE for candidate in range(candidates)]


def log_likelihood(head: Callable[[Tensor], Tensor], hidden_states: Tensor, tokens: Tensor) -> Tensor:
    """How likely given tokens are, in float32, for they are many small numbers.

    Args:
        head: of a model that draws by tokens, hidden states to logits.
        hidden_states: [B, T, C], each of which predicts one token.
        tokens: [B, T] ids.

    Returns:
        [B] sums over T of the tokens' log-probabilities.
    """
    # Row by row: the logits of all at once could take more memory than the model.
    return torch.stack(
        [
            head(states[None])[0].float().log_softmax(dim=-1).gather(1, row[:, None]).sum()
            for states, row in zip(hidden_states, tokens, strict=True)
        ]
    )


def best_candidates(tokens: Tensor, likelihood: Tensor, candidates: int) -> Tensor:
    """Of each image's candidates the likeliest, the first of equals.

    Args:
        tokens: [B * candidates, N], those of an image side by side.
        likelihood: [B * candidates].
        candidates: of each image.

    Returns:
        [B, N].
    """
    best = likelihood.view(-1, candidates).argmax(dim=1)
    return tokens.view(len(best), candidates, -1)[torch.arange(len(best), device=best.device), best]
