"""A picture and what to change in it, as the token rows that the model reads."""

from __future__ import annotations

from dataclasses import replace

from ..prompt_batch import PromptBatch
from .edit_forms import EditForm
from .prompts import PromptBuilder


def edit_prompt(
    prompts: PromptBuilder, instruction: str, form: EditForm, num_tokens: int, *, guided: bool, sourced: bool
) -> PromptBatch:
    """The rows of a picture and what to change in it.

    All have one length and no hidden token: their padding is read, as the checkpoints were trained.

    Args:
        prompts: the checkpoint's own format.
        instruction: what to change.
        form: how the checkpoint was trained to be asked.
        num_tokens: tokens of the picture, which the new one takes as well.
        guided: whether there is an unconditional row.
        sourced: whether there is a row without the picture's tokens, where the form has one.
    """
    tokenizer = prompts.tokenizer
    row, blank = _row(prompts, instruction, form, num_tokens)
    uncond = [tokenizer.pad_id if index in blank else token for index, token in enumerate(row)]
    fills = form.active_conditions(guided, sourced)
    rows = [row] * len(fills)
    if guided:
        rows[-1] = uncond
    batch = prompts.batch(rows, num_tokens, "instruction")
    starts = [index + 1 for index, token in enumerate(row) if token == tokenizer.image_start_id]
    image_mask = batch.image_mask.new_zeros(batch.image_mask.shape)
    # The last start is that of the picture to draw.
    for slot, start in zip(form.slots, starts[:-1], strict=True):
        end = row.index(tokenizer.image_end_id, start)
        for mask, filled in zip(image_mask, fills, strict=True):
            mask[start:end] = slot in filled
    return replace(batch, image_mask=image_mask)


def _row(
    prompts: PromptBuilder, instruction: str, form: EditForm, num_tokens: int
) -> tuple[list[int], range]:
    """The row that holds everything, and where padding stands in the unconditional one."""
    special, encode = prompts.tokenizer.special, prompts.tokenizer.encode

    def picture(token: str, count: int) -> str:
        return special.image_start + token * count + special.image_end

    opening, _, request = form.turn.partition("{instruction}")
    opening = opening.format(
        seen=picture(special.image, prompts.num_image_tokens),
        tokens=picture(special.image, num_tokens),
        padding=picture(special.pad, num_tokens),
    )
    text = prompts.drawing_turn(opening + instruction + request)
    if form.blanks_whole_prompt:
        row = encode(text)
        return row, range(1, len(row) - 1)
    # In three pieces, as trained: so an instruction is read the same whatever stands around it.
    start = text.index(opening) + len(opening)
    end = start + len(instruction)
    head, middle, tail = encode(text[:start]), encode(text[start:end])[1:], encode(text[end:])[1:]
    return [*head, *middle, *tail], range(len(head), len(head) + len(middle))
