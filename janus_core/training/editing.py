"""Edits by instruction as training sequences, with the prompts and the conditions of inference."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..models.token_generation import TokenGeneration
from ..pipeline.editing import slot_embeddings
from ..pipeline.pipeline import JanusPipeline
from ..processing.edit_forms import EDIT_FORMS, EditForm
from .pictures import image_tokens, pixel_tokens, to_images
from .samples import EditSample
from .sequences import TokenSequence, edit_sequence

DEFAULT_FORM = "janus-4o"  # for a model that does not edit yet: both views of the source, and nothing cropped


@dataclass(frozen=True)
class EditBatch:
    """The edits of one batch.

    Attributes:
        sequences: the prompt of each edit under one of the form's conditions, and its result to predict.
        image_embeds: for each sequence, embeddings [..., C] of its input images.
        tokens: [B, N] image tokens of the results.
    """

    sequences: list[TokenSequence]
    image_embeds: list[Tensor]
    tokens: Tensor


def edit_form(pipeline: JanusPipeline) -> EditForm:
    """The form that a model is trained to edit with; ValueError if it generates no image tokens."""
    if not isinstance(pipeline.model.generation, TokenGeneration):
        raise ValueError(
            f"model must generate image tokens to be trained on edits, got {pipeline.folder.name!r}; leave "
            "the edits out, or use a Janus or Janus-Pro checkpoint"
        )
    return EDIT_FORMS[pipeline.edit_form or DEFAULT_FORM]


def edit_batch(
    pipeline: JanusPipeline, samples: Sequence[EditSample], dropout: float, rng: random.Random
) -> EditBatch:
    """Encodes edits; `dropout` is the share of them that get the unconditional prompt.

    The other conditions are equally frequent: at the published `source_scale`, the one without the source's
    tokens weighs most. Without an instruction, it is the only one, since copying tokens would teach nothing,
    unless the sample is there to teach just that.
    """
    form = edit_form(pipeline)
    last = len(form.conditions) - 1
    chosen = []
    for sample in samples:
        first, end = (0, 1) if sample.copies else (0 if sample.instruction else last - 1, last)
        chosen.append(last if rng.random() < dropout else rng.randrange(first, end))
    sources = to_images([sample.source for sample in samples])
    _, slots = slot_embeddings(pipeline, form, sources, partial(pixel_tokens, pipeline))
    image_embeds = []
    for index, condition in enumerate(chosen):
        filled = [slots[slot][index] for slot in form.conditions[condition]]
        image_embeds.append(torch.cat(filled) if filled else next(iter(slots.values()))[index, :0])
    sequences = [
        edit_sequence(pipeline, sample.instruction, form, condition)
        for sample, condition in zip(samples, chosen, strict=True)
    ]
    return EditBatch(sequences, image_embeds, image_tokens(pipeline, to_images([s.target for s in samples])))
