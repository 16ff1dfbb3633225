"""Editing an image by instruction: all of its tokens are drawn again after a prompt that shows it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..processing.edit_forms import EDIT_FORMS, TOKENS, VISION, EditForm
from ..processing.edit_prompts import edit_prompt
from ..prompt_batch import PromptBatch
from ..sampling.guidance import guide_edit, uses_guidance, uses_source
from ..sampling.steps import OnStep, may_preview, part_of
from ..sampling.tokens import sample_image_tokens
from .edit_request import EditRequest
from .runtime import Runtime
from .workspace import codec_bytes, drawing_bytes, vision_bytes


def draw_edit(runtime: Runtime, request: EditRequest, on_step: OnStep) -> tuple[Tensor, Tensor]:
    """Draws edited images: their tokens [B, N], and those of the source [N].

    The images are the model's own squares and are not pasted back into the source: whether a checkpoint keeps
    the bars beside a letterboxed image is up to its training.
    """
    options = request.options
    prompt = instruction_prompt(runtime, request)
    count, preview = options.batch_size, may_preview(on_step)
    drawing = drawing_bytes(runtime, prompt, count, preview)
    runtime.reserve(max(vision_bytes(runtime, 1), drawing, codec_bytes(runtime, count)))
    source = embed_source(runtime, request, prompt)
    combine = partial(guide_edit, guidance_scale=options.guidance_scale, source_scale=source_scale(request))
    chunks = runtime.chunks(options.batch_size)
    tokens = torch.cat(
        [
            sample_image_tokens(
                runtime.model,
                source.prompt,
                options,
                chunk,
                part_of(on_step, number, len(chunks)),
                source.inputs_embeds,
                combine,
            )
            for number, chunk in enumerate(chunks)
        ]
    )
    return tokens, source.tokens


@dataclass(frozen=True)
class EditSource:
    """The prompt of an edit with its image filled in.

    Attributes:
        prompt: one sequence per condition, on the model's device.
        inputs_embeds: [R, T, C] embeddings of these sequences.
        tokens: [N] image tokens of the source.
    """

    prompt: PromptBatch
    inputs_embeds: Tensor
    tokens: Tensor


def instruction_prompt(runtime: Runtime, request: EditRequest) -> PromptBatch:
    """The token ids of an edit, one sequence per condition; a ValueError if they do not fit."""
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


def embed_source(runtime: Runtime, request: EditRequest, prompt: PromptBatch) -> EditSource:
    """Encodes the image of a request and puts it into the prompt."""
    model, processor, device = runtime.model, runtime.image_processor, runtime.device
    form, options = EDIT_FORMS[request.form], request.options
    pixels = (
        processor.cropped_pixels(request.image[0]) if form.center_crop else processor.pixels(request.image)
    )
    tokens = model.generation.encode(pixels.to(device))
    slots = {TOKENS: model.token_generation.embed_tokens(tokens)[0]}
    if VISION in form.slots:
        slots[VISION] = model.understanding(processor.pixel_values(request.image).to(device))[1][0]
    conditions = form.active_conditions(
        uses_guidance(options.guidance_scale), uses_source(source_scale(request))
    )
    image_embeds = torch.cat([slots[slot] for condition in conditions for slot in condition])
    prompt = prompt.to(device)
    return EditSource(prompt, model.embed_prompt(prompt, image_embeds), tokens[0])


def changed_cells(tokens: Tensor, source_tokens: Tensor, images: Tensor) -> Tensor:
    """[B, S, S] 1 on the cells of images [B, S, S, 3] whose token [B, N] differs from the source's [N]."""
    grid_size = int(source_tokens.numel() ** 0.5)
    cell = images.shape[1] // grid_size
    changed = (tokens != source_tokens).view(-1, grid_size, grid_size).to(images)
    return changed.repeat_interleave(cell, dim=1).repeat_interleave(cell, dim=2)
