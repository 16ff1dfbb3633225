"""Editing images by instruction: all tokens of an image are drawn again after a prompt that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..models.parts import DRAWING, SEEING
from ..processing.edit_forms import EDIT_FORMS, TOKENS, VISION, EditForm
from ..processing.edit_prompts import edit_prompt
from ..prompt_batch import PromptBatch
from ..sampling.guidance import guide_edit, uses_guidance, uses_source
from ..sampling.results import DrawnTokens
from ..sampling.steps import OnStep, may_preview, part_of
from ..sampling.tokens import sample_image_tokens
from .edit_request import EditRequest
from .edit_runs import EditRun, split_runs
from .rows import fit, in_groups
from .runtime import Runtime
from .workspace import codec_bytes, drawing_bytes, vision_bytes


def draw_edit(runtime: Runtime, request: EditRequest, on_step: OnStep) -> tuple[DrawnTokens, Tensor]:
    """Generates the tokens of images that are edited by instruction.

    The images are the model's own squares and are not pasted back into the source: whether a checkpoint keeps
    the bars beside a letterboxed image is up to its training.

    Returns:
        Tokens [R, N] of the results, and tokens [R, N] of their sources.
    """
    options, num_results = request.options, request.num_results
    prompt = instruction_prompt(runtime, request)
    runtime, runs = fit(
        runtime,
        DRAWING | SEEING if VISION in EDIT_FORMS[request.form].slots else DRAWING,
        lambda smaller: _plan(smaller, request, prompt, preview=may_preview(on_step)),
    )
    combine = partial(guide_edit, guidance_scale=options.guidance_scale, source_scale=source_scale(request))
    num_tokens = runtime.model.generation.config.num_tokens
    tokens = torch.empty(num_results, num_tokens, dtype=torch.int64, device=runtime.device)
    source_tokens = torch.empty_like(tokens)

    def draw(run: EditRun, number: int, count: int) -> int:
        source = embed_sources(runtime, request, prompt, run.sources)
        source_tokens[run.rows] = source.tokens.repeat_interleave(len(run.rows) // len(run.sources), dim=0)
        drawn = sample_image_tokens(
            runtime.model,
            source.prompt,
            options,
            run.rows,
            part_of(on_step, number, count),
            source.inputs_embeds,
            combine,
            len(run.sources),
        )
        tokens[run.rows] = drawn.tokens
        return drawn.passes

    passes = sum(in_groups(runtime, runs, draw))
    return DrawnTokens(tokens, passes), source_tokens


def _plan(
    runtime: Runtime, request: EditRequest, prompt: PromptBatch, preview: bool
) -> tuple[list[EditRun], int]:
    """Which results are drawn together, and the bytes that this needs."""
    size = request.options.batch_size
    blocks = [
        EditRun([source], list(range(source * size, (source + 1) * size)))
        for source in range(len(request.images))
    ]
    runs = split_runs(blocks, runtime.max_batch_size)
    num_sources = max(len(run.sources) for run in runs)
    drawing = drawing_bytes(
        runtime,
        prompt,
        request.num_results,
        preview,
        num_sources=num_sources,
        lookahead=request.options.lookahead,
    )
    return runs, max(vision_bytes(runtime, 1), drawing, codec_bytes(runtime, request.num_results))


@dataclass(frozen=True)
class EditSource:
    """The prompt of an edit, with S images filled in.

    Attributes:
        prompt: S adjacent sequences for each of R conditions, on the model's device.
        inputs_embeds: [R * S, T, C] embeddings of these sequences.
        tokens: [S, N] image tokens of the sources.
    """

    prompt: PromptBatch
    inputs_embeds: Tensor
    tokens: Tensor


def instruction_prompt(runtime: Runtime, request: EditRequest) -> PromptBatch:
    """The token ids of an edit, one sequence per condition; a ValueError if the context is too short."""
    return edit_prompt(
        runtime.prompts,
        request.instruction,
        EDIT_FORMS[request.form],
        runtime.model.generation.config.num_tokens,
        use_cfg=uses_guidance(request.options.guidance_scale),
        use_source=uses_source(source_scale(request)),
    )


def source_scale(request: EditRequest) -> float:
    """Weight of the condition without the source's tokens; 0 for forms that have none."""
    form: EditForm = EDIT_FORMS[request.form]
    return request.options.source_scale if form.has_partial_condition else 0.0


def embed_sources(
    runtime: Runtime, request: EditRequest, prompt: PromptBatch, sources: Sequence[int]
) -> EditSource:
    """Encodes S images of a request, one at a time, and puts each into the prompt."""
    encoded = [_encoded(runtime, request, request.images[source]) for source in sources]
    tokens, image_embeds = zip(*encoded, strict=True)
    prompt = prompt.to(runtime.device)
    # All sources of a condition, then those of the next.
    embeds = torch.stack([runtime.model.embed_prompt(prompt, each) for each in image_embeds], dim=1)
    return EditSource(prompt.repeat(len(sources)), embeds.flatten(0, 1), torch.cat(tokens))


def slot_embeddings(
    runtime: Runtime,
    form: EditForm,
    images: Sequence[Tensor],
    encode: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Encodes S images [H, W, C] as a form's prompts take them.

    `encode` maps pixels to image tokens; by default as the model does.

    Returns:
        Image tokens [S, N], and for each kind of slot the embeddings [S, ..., C] that fill it.
    """
    model, processor, device = runtime.model, runtime.image_processor, runtime.device
    if form.center_crop:
        pixels = torch.cat([processor.cropped_pixels(image) for image in images])
    else:
        pixels = processor.pixels(images)
    tokens = (encode or model.generation.encode)(pixels.to(device))
    slots = {TOKENS: model.token_generation.embed_tokens(tokens)}
    if VISION in form.slots:
        slots[VISION] = model.understanding(processor.pixel_values(images).to(device))[1]
    return tokens, slots


def _encoded(runtime: Runtime, request: EditRequest, image: Tensor) -> tuple[Tensor, Tensor]:
    """Image tokens [1, N] of an image [H, W, C], and embeddings [..., C] for all slots of all conditions."""
    form, options = EDIT_FORMS[request.form], request.options
    tokens, slots = slot_embeddings(runtime, form, [image])
    conditions = form.active_conditions(
        uses_guidance(options.guidance_scale), uses_source(source_scale(request))
    )
    return tokens, torch.cat([slots[slot][0] for condition in conditions for slot in condition])


def changed_cells(tokens: Tensor, source_tokens: Tensor, images: Tensor) -> Tensor:
    """[R, S, S] 1 on the cells of images [R, S, S, 3] whose token [R, N] differs from the source's [R, N]."""
    grid_size = int(tokens.shape[1] ** 0.5)
    cell = images.shape[1] // grid_size
    changed = (tokens != source_tokens).view(-1, grid_size, grid_size).to(images)
    return changed.repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)
