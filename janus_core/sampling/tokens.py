"""Drawing an image, or what is missing of it, token by token in raster order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from ..models.cache import Cache
from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .candidates import log_likelihood
from .cuda_graph import CapturedStep
from .guidance import guide
from .logits import TokenDrawer, check_finite
from .options import TokenSampling
from .steps import OnStep, ignore_step

Combine = Callable[[Tensor], Tensor]
"""Logits of all rows of each image [R * B, V], to the ones that its token is drawn from [B, V]."""


@dataclass(frozen=True)
class GivenTokens:
    """An image of which only some tokens are drawn.

    Attributes:
        tokens: [N] ids; those at `free` are not looked at.
        free: positions to draw, at least one, in ascending order.
    """

    tokens: Tensor
    free: Sequence[int]


def sample_image_tokens(
    model: Janus,
    prompt: PromptBatch,
    options: TokenSampling,
    images: Sequence[int],
    on_step: OnStep = ignore_step,
) -> Tensor:
    """Draws several images of one prompt (Janus, arXiv:2410.13848, section 3.3).

    The reference guides and samples in the model's dtype; here both are float32, so that bf16 rounds only
    once.

    Args:
        model: a model that generates by tokens; it computes where the prompt lies.
        prompt: the prompt's row, and with guidance the unconditional row behind it.
        options: guidance and randomness; `batch_size` is not looked at, `images` says how many are drawn.
        images: index of each image in the whole batch; image i draws from seed + i.
        on_step: told of every token; may raise to cancel.

    Returns:
        [B, N] int64 ids, B being `len(images)`.
    """
    combine = partial(guide, guidance_scale=options.guidance_scale)
    return draw_tokens(model, prompt, model.embed_prompt(prompt), combine, options, images, None, on_step)[0]


def draw_tokens(
    model: Janus,
    prompt: PromptBatch,
    inputs_embeds: Tensor,
    combine: Combine,
    options: TokenSampling,
    images: Sequence[int],
    given: GivenTokens | None = None,
    on_step: OnStep = ignore_step,
) -> tuple[Tensor, Tensor]:
    """Draws several images, or what is missing of one image several times, behind one prompt.

    Args:
        model: a model that generates by tokens; it computes where the prompt lies.
        prompt: R rows that are looked at for each token, the one that the image should follow first.
        inputs_embeds: [R, T, C], the same rows as the body reads them.
        combine: makes one of the rows' logits.
        options: randomness; guidance is in `combine`, and how many are drawn in `images`.
        images: index of each image; image i draws from seed + i.
        given: what there is of the image already; None draws all of it.
        on_step: told of every token that is drawn, with all up to the next one; may raise to cancel.

    Returns:
        [B, N] int64 ids, B being `len(images)`; and [B] float32, how likely the given tokens behind the first
        drawn one are by the first row: the mean of their log-probabilities, 0 if there is none.
    """
    rows, num_tokens = prompt.input_ids.shape[0], model.generation.config.num_tokens
    tokens = prompt.input_ids.new_zeros(len(images), num_tokens)
    free: Sequence[int] = range(num_tokens)
    if given is not None:
        tokens[:], free = given.tokens, given.free
    first = free[0]
    drawer = TokenDrawer(options, images)

    position_ids = prompt.position_ids
    following = position_ids[:, -1:] + torch.arange(1, num_tokens + 1, device=position_ids.device)
    if first > 0:
        start = model.generation.embed_tokens(tokens[:1, :first]).expand(rows, -1, -1)
        inputs_embeds = torch.cat((inputs_embeds, start), dim=1)
        position_ids = torch.cat((position_ids, following[:, :first]), dim=1)
    visible = prompt.attention_mask if prompt.padded else None
    cache = model.body.new_cache(rows, inputs_embeds.shape[1], inputs_embeds.device, visible)
    # Images share the prompt and what they start with: read these once, then copy what the body remembers.
    hidden_states = model.body(inputs_embeds, position_ids, cache)[:, -1:]
    cache = cache.repeat(len(images), prompt.length + num_tokens)
    hidden_states = hidden_states.repeat_interleave(len(images), dim=0)
    following = following.repeat_interleave(len(images), dim=0)

    def read(new: Tensor, positions: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """Hidden states of the rows after new tokens [B, T], and logits of the token behind them."""
        inputs_embeds = model.generation.embed_tokens(new).repeat(rows, 1, 1)
        hidden_states = model.body(inputs_embeds, positions, cache)
        return hidden_states, next_logits(hidden_states)

    def next_logits(hidden_states: Tensor) -> Tensor:
        return combine(model.generation.head(hidden_states[:, -1:])[:, -1].float())

    read_one = CapturedStep(read, cache) if options.capture else partial(read, cache=cache)
    logits = next_logits(hidden_states)

    finite = torch.ones((), dtype=torch.bool, device=tokens.device)
    likelihood = torch.zeros(len(images), dtype=torch.float32, device=tokens.device)
    for step, stop in pairwise((*free, num_tokens)):
        if step == first:
            check_finite(logits, hidden_states.dtype)
        # Later steps only note what breaks: asking the device each time would hold it up.
        finite &= torch.isfinite(logits).all()
        tokens[:, step] = drawer.draw(logits)
        on_step(stop, num_tokens, tokens[:, :stop])
        # The drawn token and the given ones behind it; nothing follows the last, which need not be read.
        new = slice(step, min(stop, num_tokens - 1))
        if new.stop - new.start == 1:
            hidden_states, logits = read_one(tokens[:, new], following[:, new])
        elif new.start < new.stop:
            hidden_states, logits = read(tokens[:, new], following[:, new], cache)
        if stop - step > 1:
            seen = hidden_states[: len(images), : stop - step - 1]
            likelihood += log_likelihood(model.generation.head, seen, tokens[:, step + 1 : stop])
    check_finite(torch.where(finite, 0.0, torch.nan), hidden_states.dtype)
    return tokens, likelihood / max(num_tokens - first - len(free), 1)
