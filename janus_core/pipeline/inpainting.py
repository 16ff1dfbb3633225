"""Inpainting: the tokens under a mask are drawn again, everything else stays the source's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, pairwise

import torch
from torch import Tensor

from ..processing.masks import (
    feather_weights,
    fit_mask,
    masked_tokens,
    pixels_inside_tokens,
    remove_letterbox,
)
from ..prompt_batch import PromptBatch
from ..sampling.guidance import uses_guidance
from ..sampling.inpainting import MaskedImage, best_candidates, candidate_indices, inpaint_tokens
from ..sampling.options import EditSampling
from ..sampling.results import EditedImages
from ..sampling.seeds import seeded_generator
from ..sampling.steps import OnStep, may_preview, part_of
from .edit_request import EditRequest
from .runtime import Runtime
from .workspace import codec_bytes, drawing_bytes


@dataclass(frozen=True)
class InpaintingRun:
    """Images or candidates drawn together: what is added to their seeds, and the masked positions."""

    seed_offsets: list[int]
    masked: list[int]


@dataclass(frozen=True)
class InpaintingPlan:
    """What to draw of an image.

    Attributes:
        weights: [H, W] float32 in [0, 1], the mask in the size of the source.
        masked: for each image, the positions to draw in ascending order; the same number for each.
        num_tokens: tokens of an image.
        candidates: drawn of each image, of which the likeliest is kept.
    """

    weights: Tensor
    masked: list[list[int]]
    num_tokens: int
    candidates: int

    @property
    def num_known_tokens(self) -> int:
        """The most tokens before the first drawn one, which are read with the prompt."""
        return max(positions[0] for positions in self.masked)

    @property
    def tokens_per_pass(self) -> int:
        """The most tokens that are read at once later: a drawn one, and the known ones after it."""
        stops = [(*positions, self.num_tokens) for positions in self.masked]
        return max(stop - start for each in stops for start, stop in pairwise(each))

    def runs(self, max_batch_size: int) -> list[InpaintingRun]:
        """Splits images and their candidates into batches."""
        offsets = [candidate_indices(image, self.candidates) for image in range(len(self.masked))]
        if all(positions == self.masked[0] for positions in self.masked):
            # Images that keep the same tokens are drawn together.
            groups = [(self.masked[0], list(chain(*offsets)))]
        else:
            groups = list(zip(self.masked, offsets, strict=True))
        return [
            InpaintingRun(group[start : start + max_batch_size], positions)
            for positions, group in groups
            for start in range(0, len(group), max_batch_size)
        ]


def plan_inpainting(runtime: Runtime, request: EditRequest) -> InpaintingPlan:
    """Finds what to draw: of the tokens under the mask, a random share `strength` for each image."""
    processor, options = runtime.image_processor, request.options
    height, width = request.image.shape[1:3]
    assert request.mask is not None  # requests of this form have one
    weights = fit_mask(request.mask, height, width)
    grid_size = runtime.model.token_generation.config.grid_size
    under_mask = masked_tokens(weights > 0, processor.frame(width, height), grid_size, processor.image_size)
    masked = [_masked_positions(under_mask, options, index) for index in range(options.batch_size)]
    # Greedy candidates are all the same, and without a known token after the first drawn one there is nothing
    # to rank candidates by.
    varied = options.temperature > 0 and options.top_k != 1
    num_tokens = len(under_mask)
    ranked = any(num_tokens - positions[0] > len(positions) for positions in masked if positions)
    return InpaintingPlan(weights, masked, num_tokens, options.candidates if varied and ranked else 1)


def _masked_positions(under_mask: Tensor, options: EditSampling, image: int) -> list[int]:
    """A random share `strength` of the positions under the mask, for one image, ascending."""
    positions = under_mask.nonzero().flatten()
    num_kept = len(positions) - math.ceil(options.strength * len(positions))
    order = torch.randperm(len(positions), generator=seeded_generator(options.seed, image), device="cpu")
    return sorted(positions[order[num_kept:]].tolist())


def draw_masked(runtime: Runtime, request: EditRequest, plan: InpaintingPlan, on_step: OnStep) -> Tensor:
    """Draws the masked tokens: tokens [B, N] of the images, the likeliest candidate of each.

    Raises:
        ValueError: if the instruction does not fit into the model's context.
    """
    options, device = request.options, runtime.device
    use_cfg = uses_guidance(options.guidance_scale)
    prompt = runtime.prompts.generation(request.instruction, "", use_cfg, plan.num_tokens, name="instruction")
    runtime.reserve(_inpainting_bytes(runtime, request, prompt, plan, preview=may_preview(on_step)))

    pixels = runtime.image_processor.pixels(request.image).to(device)
    source_tokens = runtime.model.generation.encode(pixels)[0]
    if not plan.masked[0]:
        return source_tokens.repeat(options.batch_size, 1)
    prompt = prompt.to(device)
    runs = plan.runs(runtime.max_batch_size)
    drawn = [
        inpaint_tokens(
            runtime.model,
            prompt,
            options,
            run.seed_offsets,
            MaskedImage(source_tokens, run.masked),
            part_of(on_step, number, len(runs)),
        )
        for number, run in enumerate(runs)
    ]
    tokens, log_prob = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    return best_candidates(tokens, log_prob, plan.candidates)


def _inpainting_bytes(
    runtime: Runtime, request: EditRequest, prompt: PromptBatch, plan: InpaintingPlan, preview: bool
) -> int:
    """Working memory: drawing, decoding, and blending in the source's size follow each other."""
    num_images, (height, width) = len(plan.masked), request.image.shape[1:3]
    # The source; for each image its weights, and two of: the resized image, its clamped and its blended copy.
    blending = 4 * height * width * (3 + 7 * num_images)
    phases = [codec_bytes(runtime, num_images), blending]
    if plan.masked[0]:
        num_drawn = max(len(run.seed_offsets) for run in plan.runs(runtime.max_batch_size))
        phases.append(
            drawing_bytes(runtime, prompt, num_drawn, preview, plan.num_known_tokens, plan.tokens_per_pass)
        )
    return max(phases)


def blend_edits(
    runtime: Runtime, request: EditRequest, plan: InpaintingPlan, tokens: Tensor, images: Tensor
) -> EditedImages:
    """Blends decoded squares [B, S, S, 3] into the source where drawn tokens lie under the mask."""
    height, width = request.image.shape[1:3]
    side = runtime.image_processor.image_size
    frame = runtime.image_processor.frame(width, height)
    drawn = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, positions in zip(drawn, plan.masked, strict=True):
        row[positions] = True
    changed = torch.stack(
        [(plan.weights > 0) & pixels_inside_tokens(row, frame, height, width, side) for row in drawn]
    )
    alpha = torch.stack([plan.weights * feather_weights(pixels, side) for pixels in changed]).to(images)
    source = request.image[..., :3].float().expand(-1, -1, -1, 3).to(images.device)
    # At weight 0, lerp gives exactly the source.
    blended = torch.lerp(source, remove_letterbox(images, frame, height, width), alpha[..., None])
    return EditedImages(blended, tokens, changed.to(images))
