"""Drawing an image, token by token in raster order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..inputs import PromptBatch
from ..models.cache import KVCache
from ..models.janus import Janus
from .guidance import guide
from .logits import TokenDrawer, check_finite
from .options import TokenSampling
from .steps import OnStep, ignore_step


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
    num_tokens = model.generation.config.num_tokens
    drawer = TokenDrawer(options, images)

    inputs_embeds = model.embed_prompt(prompt)
    cache = KVCache(
        model.body.config,
        prompt.input_ids.shape[0],
        prompt.length,
        inputs_embeds.device,
        inputs_embeds.dtype,
        prompt.attention_mask if prompt.padded else None,
    )
    # Images of one prompt share its rows: read these once, then copy what the body remembers.
    hidden_states = model.body(inputs_embeds, prompt.position_ids, cache)[:, -1:]
    cache = cache.repeat(len(images), prompt.length + num_tokens)
    hidden_states = hidden_states.repeat_interleave(len(images), dim=0)
    position_ids = prompt.position_ids[:, -1:].repeat_interleave(len(images), dim=0)

    tokens = prompt.input_ids.new_zeros(len(images), num_tokens)
    finite = torch.ones((), dtype=torch.bool, device=tokens.device)
    for step in range(num_tokens):
        logits = guide(model.generation.head(hidden_states)[:, -1].float(), options.guidance_scale)
        if step == 0:
            check_finite(logits, hidden_states.dtype)
        # Later steps only note what breaks: asking the device each time would hold it up.
        finite &= torch.isfinite(logits).all()
        tokens[:, step] = drawer.draw(logits)
        on_step(step + 1, num_tokens, tokens[:, : step + 1])
        if step + 1 < num_tokens:
            position_ids = position_ids + 1
            inputs_embeds = model.generation.embed_tokens(tokens[:, step : step + 1])
            inputs_embeds = inputs_embeds.repeat(cache.keys.shape[1] // len(images), 1, 1)
            hidden_states = model.body(inputs_embeds, position_ids, cache)
    check_finite(torch.where(finite, 0.0, torch.nan), hidden_states.dtype)
    return tokens
