"""Changing a picture: what an edit is made of before it is drawn, and what is made of it afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from ..models.janus import Janus
from ..processing.edit_forms import TOKENS, VISION, EditForm
from ..processing.edit_prompts import edit_prompt
from ..processing.images import ImageProcessor
from ..processing.masks import (
    feather_weights,
    fit_mask,
    masked_tokens,
    pixels_inside_tokens,
    remove_letterbox,
)
from ..processing.prompts import PromptBuilder
from ..prompt_batch import PromptBatch
from ..sampling.decoding import Combine
from ..sampling.guidance import guide_edit, uses_guidance, uses_source
from ..sampling.inpainting import MaskedImage, best_candidates, candidate_indices
from ..sampling.options import EditSampling
from ..sampling.results import EditedImages
from ..sampling.seeds import seeded_generator


@dataclass(frozen=True)
class Run:
    """Draws that are computed together.

    Attributes:
        rows: the random stream of each.
        given: what all of them keep of the source.
    """

    rows: list[int]
    given: MaskedImage


@dataclass(frozen=True)
class EditPlan:
    """An edit that is ready to be drawn.

    Attributes:
        prompt: the rows that are looked at for each token.
        inputs_embeds: [R, T, C] embeddings of a prompt that holds the picture; None for those of its text.
        combine: guidance of an instruction; None for a redraw.
        source_tokens: [N] ids of the picture.
        free: for each image that is wanted, the positions to draw; as many for each.
        candidates: draws of each image, one of which is kept.
        finish: from the images' tokens [B, N] and what they decode to [B, S, S, 3] to the result.
    """

    prompt: PromptBatch
    inputs_embeds: Tensor | None
    combine: Combine | None
    source_tokens: Tensor
    free: list[list[int]]
    candidates: int
    finish: Callable[[Tensor, Tensor], EditedImages]

    def runs(self, rows_at_once: int) -> list[Run]:
        """What is to be drawn, in the order of images and of their candidates; empty if nothing is."""
        if not self.free[0]:
            return []
        rows = [candidate_indices(image, self.candidates) for image in range(len(self.free))]
        alike = all(free == self.free[0] for free in self.free)
        # Images that keep the same tokens are drawn together.
        groups = [(self.free[0], list(chain(*rows)))] if alike else zip(self.free, rows, strict=True)
        return [
            Run(group[start : start + rows_at_once], MaskedImage(self.source_tokens, free))
            for free, group in groups
            for start in range(0, len(group), rows_at_once)
        ]

    def chosen(self, drawn: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The tokens [B, N] of the images, of what the runs gave: ids and how likely the kept ones are."""
        if not drawn:
            return self.source_tokens.repeat(len(self.free), 1)
        tokens, likelihood = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return best_candidates(tokens, likelihood, self.candidates)


def plan_instruction(
    model: Janus,
    prompts: PromptBuilder,
    processor: ImageProcessor,
    device: torch.device,
    image: Tensor,
    instruction: str,
    options: EditSampling,
    form: EditForm,
) -> EditPlan:
    """An edit by instruction: all tokens are drawn anew, behind a prompt that holds the picture.

    The images are the model's own squares, since whether a model keeps the bars beside a letterboxed picture
    is its own matter.

    Args:
        model: a model that generates by tokens.
        prompts: writes its prompts.
        processor: makes the tensors that its towers see.
        device: where it computes.
        image: [1, H, W, C] in [0, 1].
        instruction: what to change.
        options: guidance and randomness; without a mask, `candidates` and `strength` say nothing.
        form: how the checkpoint was trained to be asked.
    """
    generation = model.token_generation
    num_tokens, grid_size = generation.config.num_tokens, generation.config.grid_size
    guided = uses_guidance(options.guidance_scale)
    source_scale = options.source_scale if form.has_partial_condition else 0.0
    sourced = uses_source(source_scale)
    prompt = edit_prompt(prompts, instruction, form, num_tokens, use_cfg=guided, use_source=sourced).to(
        device
    )
    pixels = processor.cropped_pixels(image[0]) if form.center_crop else processor.pixels(image)
    source_tokens = generation.encode(pixels.to(device))
    fills = {TOKENS: generation.embed_tokens(source_tokens)[0]}
    if VISION in form.slots:
        fills[VISION] = model.understanding(processor.pixel_values(image).to(device))[1][0]
    places = [fills[slot] for row in form.active_conditions(guided, sourced) for slot in row]

    def finish(tokens: Tensor, images: Tensor) -> EditedImages:
        cells = (tokens != source_tokens).view(-1, grid_size, grid_size).to(images)
        cell = images.shape[1] // grid_size
        return EditedImages(
            images, tokens, cells.repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)
        )

    return EditPlan(
        prompt,
        model.embed_prompt(prompt, torch.cat(places)),
        partial(guide_edit, guidance_scale=options.guidance_scale, source_scale=source_scale),
        source_tokens[0],
        [list(range(num_tokens))] * options.batch_size,
        1,
        finish,
    )


def plan_redraw(
    model: Janus,
    prompts: PromptBuilder,
    processor: ImageProcessor,
    device: torch.device,
    image: Tensor,
    description: str,
    options: EditSampling,
    mask: Tensor,
) -> EditPlan:
    """A redraw of what lies under a mask: other tokens are the picture's own, other pixels as well.

    Args:
        model: a model that generates by tokens.
        prompts: writes its prompts.
        processor: makes the tensors that its towers see.
        device: where it computes.
        image: [1, H, W, C] in [0, 1].
        description: of the whole picture as it should be.
        options: guidance, randomness, candidates and strength.
        mask: [H, W] or [1, H, W], above 0 where the picture may change.
    """
    generation = model.token_generation
    height, width = image.shape[1:3]
    weights = fit_mask(mask, height, width)
    area, frame, side = weights > 0, processor.frame(width, height), processor.image_size
    hole = masked_tokens(area, frame, generation.config.grid_size, side)
    free = [_free(hole, options, index) for index in range(options.batch_size)]
    varied = options.temperature > 0 and options.top_k != 1
    guided = uses_guidance(options.guidance_scale)
    prompt = prompts.generation(description, "", guided, len(hole), name="instruction").to(device)
    source_tokens = generation.encode(processor.pixels(image).to(device))[0]
    source = image[..., :3].float().expand(-1, -1, -1, 3)

    def finish(tokens: Tensor, images: Tensor) -> EditedImages:
        drawn = torch.zeros(len(tokens), len(hole), dtype=torch.bool)
        for row, positions in zip(drawn, free, strict=True):
            row[positions] = True
        changed = torch.stack([area & pixels_inside_tokens(row, frame, height, width, side) for row in drawn])
        alpha = torch.stack([weights * feather_weights(pixels, side) for pixels in changed]).to(images.device)
        # At weight 0 this is exactly the source.
        blended = torch.lerp(
            source.to(images.device), remove_letterbox(images, frame, height, width), alpha[..., None]
        )
        return EditedImages(blended, tokens, changed.to(images))

    return EditPlan(
        prompt,
        None,
        None,
        source_tokens,
        free,
        # Where nothing is kept behind the first drawn token, nothing tells candidates apart; and greedily
        # drawn, all are one.
        options.candidates if varied and any(len(hole) - row[0] > len(row) for row in free if row) else 1,
        finish,
    )


def _free(hole: Tensor, options: EditSampling, image: int) -> list[int]:
    """The positions under a mask that one of the images draws anew, in ascending order."""
    masked = hole.nonzero().flatten()
    kept = len(masked) - math.ceil(options.strength * len(masked))
    order = torch.randperm(len(masked), generator=seeded_generator(options.seed, image), device="cpu")
    return sorted(masked[order[kept:]].tolist())
