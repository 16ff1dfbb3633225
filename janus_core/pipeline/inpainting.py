"""Inpainting: generates the tokens under a mask again and blends the result into the source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby

import torch
from torch import Tensor

from ..models.parts import DRAWING
from ..processing.masks import (
    blend,
    bounding_box,
    feather_radius,
    feather_weights,
    masked_tokens,
    pixels_inside_tokens,
    remove_letterbox,
)
from ..prompt_batch import PromptBatch
from ..sampling.guidance import uses_guidance
from ..sampling.inpainting import MaskedImages, best_candidates, candidate_indices, inpaint_tokens
from ..sampling.lookahead import window
from ..sampling.options import EditSampling
from ..sampling.results import DrawnTokens
from ..sampling.seeds import seeded_generator
from ..sampling.steps import OnStep, may_preview, part_of
from .edit_request import EditRequest
from .edit_runs import EditRun, split_runs
from .rows import fit, in_groups
from .runtime import Runtime
from .workspace import codec_bytes, drawing_bytes


@dataclass(frozen=True)
class InpaintingPlan:
    """Which tokens of which images to generate.

    Attributes:
        masked: for each result, the positions to generate in ascending order; none if it keeps its source.
        sources: for each result, the index of its image, in ascending order.
        num_tokens: number of tokens in an image.
        candidates: number of candidates per result; the likeliest is kept.
    """

    masked: list[tuple[int, ...]]
    sources: list[int]
    num_tokens: int
    candidates: int

    @property
    def streams(self) -> list[int]:
        """Offset from the seed of each candidate of each result."""
        indices = (candidate_indices(result, self.candidates) for result in range(len(self.masked)))
        return list(chain.from_iterable(indices))

    def runs(self, max_batch_size: int) -> list[EditRun]:
        """Splits the candidates of all results into batches; their rows are indices of `streams`."""
        return split_runs(self._blocks(), max_batch_size)

    def _blocks(self) -> Iterator[EditRun]:
        """Results of one source that draw the same positions."""
        for (source, masked), results in groupby(
            range(len(self.masked)), lambda result: (self.sources[result], self.masked[result])
        ):
            if masked:
                first, *rest = results
                stop = (first + 1 + len(rest)) * self.candidates
                yield EditRun([source], list(range(first * self.candidates, stop)), masked)


def plan_inpainting(runtime: Runtime, request: EditRequest) -> InpaintingPlan:
    """Selects the tokens to generate: a random fraction `strength` of those under the mask, per result."""
    processor, options = runtime.image_processor, request.options
    height, width = request.images.shape[1:3]
    assert request.masks is not None  # requests of this form have them
    frame, grid_size = processor.frame(width, height), runtime.model.token_generation.config.grid_size
    under_masks = [masked_tokens(mask > 0, frame, grid_size, processor.image_size) for mask in request.masks]
    sources = [request.source_of(result) for result in range(request.num_results)]
    masked = [
        _masked_positions(under_masks[request.mask_of(source)], options, result)
        for result, source in enumerate(sources)
    ]
    # Greedy candidates are all the same. Candidates are ranked by the known tokens after the first generated
    # one; without any, there is no ranking.
    varied = options.temperature > 0 and options.top_k != 1
    num_tokens = grid_size**2
    ranked = any(num_tokens - positions[0] > len(positions) for positions in masked if positions)
    return InpaintingPlan(masked, sources, num_tokens, options.candidates if varied and ranked else 1)


def _masked_positions(under_mask: Tensor, options: EditSampling, result: int) -> tuple[int, ...]:
    """A random fraction `strength` of the positions under the mask, for one result, ascending."""
    positions = under_mask.nonzero().flatten()
    num_kept = len(positions) - math.ceil(options.strength * len(positions))
    order = torch.randperm(len(positions), generator=seeded_generator(options.seed, result), device="cpu")
    return tuple(sorted(positions[order[num_kept:]].tolist()))


def draw_masked(
    runtime: Runtime, request: EditRequest, plan: InpaintingPlan, on_step: OnStep
) -> tuple[DrawnTokens, Tensor]:
    """Generates the masked tokens.

    Returns:
        Tokens [R, N] of the likeliest candidate of each result, and tokens [R, N] of their sources.

    Raises:
        ValueError: if the instruction does not fit into the model's context.
    """
    options, device = request.options, runtime.device
    use_cfg = uses_guidance(options.guidance_scale)
    prompt = runtime.prompts.generation(request.instruction, "", use_cfg, plan.num_tokens, name="instruction")
    runtime, runs = fit(
        runtime,
        DRAWING,
        lambda smaller: (
            plan.runs(smaller.max_batch_size),
            _inpainting_bytes(smaller, request, prompt, plan, preview=may_preview(on_step)),
        ),
    )
    processor, encode = runtime.image_processor, runtime.model.generation.encode
    encoded = torch.cat([encode(processor.pixels([image]).to(device)) for image in request.images])
    source_tokens = encoded[plan.sources]
    tokens = source_tokens.repeat_interleave(plan.candidates, dim=0)
    log_prob = torch.zeros(len(tokens), dtype=torch.float32, device=device)
    prompt, streams = prompt.to(device), plan.streams

    def draw(run: EditRun, number: int, count: int) -> int:
        drawn, log_prob[run.rows] = inpaint_tokens(
            runtime.model,
            prompt,
            options,
            [streams[row] for row in run.rows],
            MaskedImages(encoded[run.sources], run.masked),
            part_of(on_step, number, count),
        )
        tokens[run.rows] = drawn.tokens
        return drawn.passes

    passes = sum(in_groups(runtime, runs, draw))
    return DrawnTokens(best_candidates(tokens, log_prob, plan.candidates), passes), source_tokens


def _inpainting_bytes(
    runtime: Runtime, request: EditRequest, prompt: PromptBatch, plan: InpaintingPlan, preview: bool
) -> int:
    """Working memory in bytes: the largest of the phases generating, decoding and blending."""
    phases = [codec_bytes(runtime, request.num_results), _blending_bytes(request)]
    for run in plan.runs(runtime.max_batch_size):
        size, num_sources, known = len(run.rows), len(run.sources), run.masked[0]
        drawn = window(runtime.model, request.options.lookahead, size * len(prompt.input_ids))
        stops = (*run.masked[drawn:], *[plan.num_tokens] * drawn)
        per_pass = max(stop - start for start, stop in zip(run.masked, stops, strict=False))
        phases.append(drawing_bytes(runtime, prompt, size, preview, known, per_pass, num_sources, drawn))
    return max(phases)


def _blending_bytes(request: EditRequest) -> int:
    """Working memory in bytes to blend results into their sources."""
    assert request.masks is not None
    _, height, width, channels = request.images.shape
    rows, columns = bounding_box((request.masks > 0).any(dim=0))
    share = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    # For all results: the blended image and the changed mask. For one at a time: the source, the mask in two
    # dtypes, the resized image twice, and within the mask's box the weights and copies of the image.
    alpha = channels == 4
    of_one = channels + 2 + 2 * 3 + share * (12 if alpha else 3)
    numbers = request.num_results * (5 if alpha else 4) + of_one
    return round(4 * height * width * numbers)


def blend_edits(
    runtime: Runtime, request: EditRequest, plan: InpaintingPlan, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Blends decoded squares [R, S, S, 3] into their sources where drawn tokens lie under the mask.

    Returns:
        [R, H, W, 4] if the sources have an alpha channel, else [R, H, W, 3]; and [R, H, W] float32, 1 where
        they may have changed.
    """
    height, width, channels = request.images.shape[1:]
    side = runtime.image_processor.image_size
    frame, radius = runtime.image_processor.frame(width, height), feather_radius(height, width, side)
    masks = request.masks
    assert masks is not None

    @lru_cache(maxsize=1)  # adjacent results mostly change the same area
    def areas(mask: int, masked: tuple[int, ...]) -> tuple[Tensor, tuple[slice, slice], Tensor]:
        """Where pixels change [H, W] bool, its bounding box, and within that the blending weights."""
        drawn = torch.zeros(plan.num_tokens, dtype=torch.bool)
        drawn[list(masked)] = True
        area = (masks[mask] > 0) & pixels_inside_tokens(drawn, frame, height, width, side)
        box = bounding_box(area)
        feathered = feather_weights(area[box].to(images.device), radius)
        return area, box, masks[mask][box].to(images.device) * feathered

    blended = images.new_empty(len(images), height, width, 4 if channels == 4 else 3)
    changed = images.new_empty(len(images), height, width)
    for result, image in enumerate(images):
        source = request.images[plan.sources[result]].to(images)
        area, box, weights = areas(request.mask_of(plan.sources[result]), plan.masked[result])
        blended[result], changed[result] = source, area
        if weights.numel():
            drawn = remove_letterbox(image[None], frame, height, width)[0][box]
            blended[result][box] = blend(source[box], drawn, weights)
            del drawn  # a view that would keep this image in memory beside the next one
    return blended, changed
