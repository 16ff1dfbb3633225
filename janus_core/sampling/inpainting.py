"""Inpainting: draws the masked tokens of an image, and ranks candidates by the kept tokens that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .decoding import ImageDecoder
from .drawing import TokenDrawer
from .guidance import guide
from .logits import TokenSampler
from .lookahead import window
from .options import TokenSampling
from .results import DrawnTokens
from .steps import OnStep, ignore_step

# Distance between the random streams of an image's candidates: 2**32 over the golden ratio, which spreads
# them evenly, far from the streams of other images. The CPU's generator uses only a seed's lower 32 bits.
CANDIDATE_STRIDE = 2_654_435_761


@dataclass(frozen=True)
class MaskedImages:
    """The tokens [S, N] of images, and the positions to draw in each: at least one, in ascending order."""

    tokens: Tensor
    masked: Sequence[int]


def inpaint_tokens(
    model: Janus,
    prompt: PromptBatch,
    options: TokenSampling,
    images: Sequence[int],
    source: MaskedImages,
    on_step: OnStep = ignore_step,
) -> tuple[DrawnTokens, Tensor]:
    """Draws the masked tokens of images, equally often for each, from one prompt.

    The arguments are those of `sample_image_tokens`, with the index of each random stream as `images`, those
    of one source adjacent. `on_step` is called after every pass that draws, with all tokens before the next
    masked one.

    Returns:
        [B, N] int64 ids, B being `len(images)`; and [B] float32, the mean log-probability of the kept tokens
        after the first drawn one, without guidance (0 if there are none).
    """
    masked, num_tokens = source.masked, model.generation.config.num_tokens
    num_sources = len(source.tokens)
    prompt = prompt.repeat(num_sources)
    combine = partial(guide, guidance_scale=options.guidance_scale)
    # The kept tokens before the first masked one are read with the prompt.
    start = source.tokens[:, : masked[0]] if masked[0] > 0 else None
    inputs_embeds = model.embed_prompt(prompt)
    decoder = ImageDecoder(model, prompt, inputs_embeds, combine, len(images), start, num_sources)
    drawer = TokenDrawer(
        decoder,
        TokenSampler(options, images),
        source.tokens.repeat_interleave(len(images) // num_sources, dim=0),
        masked,
        window(model, options.lookahead, decoder.num_sequences),
    )
    log_prob = torch.zeros(len(images), dtype=torch.float32, device=drawer.tokens.device)
    kept, reported = set(range(num_tokens)) - set(masked), 0
    for settled in drawer.steps():
        if settled > reported:  # not after a pass that only reads kept tokens
            on_step(settled, num_tokens, drawer.tokens[:, :settled])
            reported = settled
        for image, predicted in enumerate(drawer.predicted):
            numbers = [number for number in predicted if number in kept]
            if numbers:
                states = decoder.hidden_states[image, [number - predicted.start for number in numbers]]
                ids = drawer.tokens[image, numbers]
                log_prob[image] += sum_log_probs(model.token_generation.head, states, ids)
    return drawer.result(), log_prob / max(num_tokens - masked[0] - len(masked), 1)


def sum_log_probs(head: Callable[[Tensor], Tensor], hidden_states: Tensor, tokens: Tensor) -> Tensor:
    """Sums the log-probabilities of tokens [n] after hidden states [n, C], in float32: a scalar."""
    log_probs = head(hidden_states[None])[0].float().log_softmax(dim=-1)
    return log_probs.gather(1, tokens[:, None]).sum()


def candidate_indices(image: int, candidates: int) -> list[int]:
    """Indices of the random streams of an image's candidates; candidate 0 uses the image's own."""
    return [image + candidate * CANDIDATE_STRIDE for candidate in range(candidates)]


def best_candidates(tokens: Tensor, log_prob: Tensor, candidates: int) -> Tensor:
    """Picks each image's most likely candidate (the first of equals), [B, N].

    `tokens` are [B * candidates, N], the candidates of an image adjacent, and `log_prob` [B * candidates].
    """
    best = log_prob.view(-1, candidates).argmax(dim=1)
    return tokens.view(len(best), candidates, -1)[torch.arange(len(best), device=best.device), best]
