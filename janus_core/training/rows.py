"""Samples to rows of tokens, written exactly as the pipeline writes them when the model is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..pipeline.pipeline import JanusPipeline
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..prompt_batch import PromptBatch
from .samples import Sample

IGNORED = -100


@dataclass
class Row:
    """One sequence.

    Attributes:
        ids: token ids; placeholders stand where a picture is seen and where one is drawn.
        labels: the id that each position is to predict, or `IGNORED`.
        drawn: positions at which a drawn picture's tokens stand.
    """

    ids: list[int]
    labels: list[int]
    drawn: range = range(0)


@dataclass(frozen=True)
class RowBatch:
    """Rows padded on the right, where nothing before can see the padding.

    Attributes:
        prompt: ids [B, T], positions, and where seen pictures stand.
        labels: [B, T] text ids to predict, or `IGNORED`.
        drawn: [B, T] bool, True at tokens of drawn pictures.
        before_drawn: [B, T] bool, True at the positions that predict these.
    """

    prompt: PromptBatch
    labels: Tensor
    drawn: Tensor
    before_drawn: Tensor


def conversation_row(
    pipeline: JanusPipeline, sample: Sample, system_prompt: str = DEFAULT_SYSTEM_PROMPT
) -> Row:
    """A conversation; its answers, and their ends, are to be predicted.

    Raises:
        ValueError: if it asks for more images than its picture, or is longer than the model's context.
    """
    prompts, tokenizer = pipeline.prompts, pipeline.prompts.tokenizer
    # There, a tag would become a place that no image fills; the first question is checked below.
    later = [part for turn in sample.turns for part in turn][1:]
    if any(tokenizer.special.image in part for part in later):
        raise ValueError(
            f"turns after the first question must hold no {tokenizer.special.image}, got one; remove it"
        )
    images = int(sample.picture is not None)
    row = Row([], [])
    for index, (question, answer) in enumerate(sample.turns):
        if index == 0:
            asked = prompts.understanding([question], images, system_prompt).input_ids[0].tolist()
        else:
            asked = tokenizer.encode(prompts.chat.question(question))[1:]
        answered = [*tokenizer.encode(prompts.chat.answer(answer))[1:], tokenizer.eos_id]
        row.ids += asked + answered
        # A position predicts the next one: the last of the question predicts the first of the answer.
        row.labels += [IGNORED] * (len(asked) - 1) + answered + [IGNORED]
    if len(row.ids) > prompts.max_length:
        raise ValueError(
            f"conversation must fit into the model's context of {prompts.max_length} tokens, got "
            f"{len(row.ids)}; shorten it or split it"
        )
    return row


def drawing_row(pipeline: JanusPipeline, caption: str, hide_caption: bool) -> Row:
    """A caption and its picture's tokens, the caption hidden as guidance hides it."""
    count = pipeline.model.generation.config.num_tokens
    prompt = pipeline.prompts.generation(caption, "", use_cfg=True, num_new=count)
    ids = prompt.input_ids[int(hide_caption)].tolist()
    drawn = range(len(ids), len(ids) + count)
    ids += [pipeline.prompts.tokenizer.pad_id] * count
    return Row(ids, [IGNORED] * len(ids), drawn)


def batch_rows(pipeline: JanusPipeline, rows: Sequence[Row]) -> RowBatch:
    """Pads rows to one length."""
    tokenizer = pipeline.prompts.tokenizer
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), tokenizer.pad_id)
    labels = torch.full((len(rows), length), IGNORED)
    drawn = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        labels[index, : len(row.labels)] = torch.tensor(row.labels)
        drawn[index, row.drawn.start : row.drawn.stop] = True
    image_mask = ids == tokenizer.image_id
    if pipeline.prompts.start_embedding:
        image_mask[:, :-1] |= image_mask[:, 1:].clone()
    positions = torch.arange(length).expand(len(rows), -1)
    prompt = PromptBatch(ids, torch.ones_like(drawn), positions, image_mask, padded=False)
    return RowBatch(prompt, labels, drawn, drawn.roll(-1, dims=1))
