"""Draws images after rows of token ids, part of which the model may have read already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...models.cache import KVCache
from ...processing.prompts import PromptBuilder
from ...processing.thinking_prompts import blank_row
from ...prompt_batch import PromptBatch
from ...sampling.decoding import prefill
from ...sampling.guidance import uses_guidance
from ...sampling.options import TokenSampling
from ...sampling.results import DrawnTokens
from ...sampling.steps import OnStep
from ...sampling.tokens import sample_image_tokens
from ..runtime import Runtime


@dataclass(frozen=True)
class ReadRows:
    """The keys and values of the first tokens of rows.

    Attributes:
        cache: one sequence for each row; a row's tokens fill its first slots.
        counts: how many tokens of each row were read. Slots after them hold something else.
    """

    cache: KVCache
    counts: list[int]

    def only_counted(self) -> KVCache:
        """The cache with everything but the counted tokens hidden or cut off."""
        longest = max(self.counts)
        self.cache.rewind(longest)
        if min(self.counts) < longest:
            slots = torch.arange(longest, device=self.cache.keys.device)
            counts = torch.tensor(self.counts, device=slots.device)
            self.cache.hide(slots < counts[:, None])
        return self.cache


def token_batch(
    prompts: PromptBuilder, rows: Sequence[Sequence[int]], device: torch.device, min_length: int = 0
) -> PromptBatch:
    """Pads rows on the left; for rows that fit into the context."""
    tokenizer = prompts.tokenizer
    lists = [list(row) for row in rows]
    batch = PromptBatch.from_rows(lists, tokenizer.pad_id, tokenizer.image_id, False, min_length)
    return batch.to(device)


def draw_rows(
    runtime: Runtime,
    prompts: PromptBuilder,
    rows: Sequence[list[int]],
    options: TokenSampling,
    images: Sequence[int],
    on_step: OnStep,
    read: ReadRows | None = None,
) -> DrawnTokens:
    """Generates equally many images of each row, those of one adjacent.

    Args:
        runtime: the model.
        prompts: the tokenizer of the rows.
        rows: S rows of text, each ending with the image start.
        options: guidance and randomness.
        images: index of the random stream of each image.
        on_step: as for `sample_image_tokens`.
        read: what the model has read of the rows; its cache is used up.
    """
    model, device = runtime.model, runtime.device
    guided = uses_guidance(options.guidance_scale)
    blanks = [blank_row(prompts, row) for row in rows] if guided else []
    counts, cache = [0] * len(rows), None
    if read is not None:
        counts, cache = read.counts, read.only_counted()
        if guided:
            parts = [row[:count] for row, count in zip(blanks, counts, strict=True)]
            batch = token_batch(prompts, parts, device, cache.length)
            cache = cache.beside(prefill(model, batch, model.embed_prompt(batch))[0])
    both = counts * (1 + guided)
    rests = [row[count:] for row, count in zip((*rows, *blanks), both, strict=True)]
    batch = token_batch(prompts, rests, device).after(both)
    return sample_image_tokens(model, batch, options, images, on_step, num_sources=len(rows), cache=cache)
