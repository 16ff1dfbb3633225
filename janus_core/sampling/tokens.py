"""Autoregressive sampling of images, token by token in raster order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ..models.cache import KVCache
from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .decoding import Combine, ImageDecoder
from .guidance import guide
from .logits import TokenSampler
from .options import TokenSampling
from .steps import OnStep, ignore_step


def sample_image_tokens(
    model: Janus,
    prompt: PromptBatch,
    options: TokenSampling,
    images: Sequence[int],
    on_step: OnStep = ignore_step,
    inputs_embeds: Tensor | None = None,
    combine: Combine | None = None,
    num_sources: int = 1,
    cache: KVCache | None = None,
) -> Tensor:
    """Generates several images of one prompt (Janus, arXiv:2410.13848, section 3.3), or of several.

    The prompt has R sequences, one per condition: the prompt itself, and with guidance the unconditional one
    after it. `inputs_embeds` [R, T, C] are needed if it contains images. `images` holds the index of each
    image in the whole batch: image i draws from seed + i. `combine` is classifier-free guidance by default.
    `num_sources` prompts, with as many adjacent sequences for each condition, have equally many images each.
    `cache` holds the keys and values of what comes before the prompts, one sequence for each of theirs.

    Returns:
        [B, N] int64 ids, B being `len(images)`.
    """
    if inputs_embeds is None:
        inputs_embeds = model.embed_prompt(prompt)
    if combine is None:
        combine = partial(guide, guidance_scale=options.guidance_scale)
    num_tokens = model.generation.config.num_tokens
    tokens = prompt.input_ids.new_zeros(len(images), num_tokens)
    decoder = ImageDecoder(
        model, prompt, inputs_embeds, combine, len(images), None, options.capture, num_sources, cache
    )
    sampler = TokenSampler(options, images)
    for position in range(num_tokens):
        tokens[:, position] = sampler.draw(decoder.logits)
        on_step(position + 1, num_tokens, tokens[:, : position + 1])
        if position + 1 < num_tokens:
            decoder.append(tokens[:, position, None])
    decoder.check_finite()
    return tokens
