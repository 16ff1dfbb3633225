"""Autoregressive sampling of images, token by token in raster order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ..models.cache import KVCache
from ..models.janus import Janus
from ..prompt_batch import PromptBatch
from .decoding import Combine, ImageDecoder
from .drawing import TokenDrawer
from .guidance import guide
from .logits import TokenSampler
from .lookahead import window
from .options import TokenSampling
from .results import DrawnTokens
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
) -> DrawnTokens:
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
    decoder = ImageDecoder(model, prompt, inputs_embeds, combine, len(images), None, num_sources, cache)
    num_tokens = model.generation.config.num_tokens
    drawer = TokenDrawer(
        decoder,
        TokenSampler(options, images),
        prompt.input_ids.new_zeros(len(images), num_tokens),
        range(num_tokens),
        window(model, options.lookahead, decoder.num_sequences),
    )
    for settled in drawer.steps():
        on_step(settled, num_tokens, drawer.tokens[:, :settled])
    return drawer.result()
