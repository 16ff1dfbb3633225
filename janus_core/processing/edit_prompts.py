"""Builds the token sequences of an edit by instruction."""

from __future__ import annotations

from dataclasses import replace

from ..prompt_batch import PromptBatch
from .edit_forms import EditForm
from .prompts import PromptBuilder


def edit_prompt(
    prompts: PromptBuilder,
    instruction: str,
    form: EditForm,
    num_tokens: int,
    *,
    use_cfg: bool,
    use_source: bool,
) -> PromptBatch:
    """The prompt of an edit, one sequence per active condition of its form.

    All sequences have the same length, and no token is masked: attention sees their padding, as in training.
    The source image and the new one have `num_tokens` VQ tokens each.
    """
    tokenizer = prompts.tokenizer
    full, blank = _full_sequence(prompts, instruction, form, num_tokens)
    conditions = form.active_conditions(use_cfg, use_source)
    sequences = [full] * len(conditions)
    if use_cfg:
        sequences[-1] = [tokenizer.pad_id if index in blank else token for index, token in enumerate(full)]
    batch = prompts.batch(sequences, num_tokens, "instruction")

    # Mark the slots that each condition fills with embeddings. The last image start belongs to the new image.
    starts = [index + 1 for index, token in enumerate(full) if token == tokenizer.image_start_id]
    image_mask = batch.image_mask.new_zeros(batch.image_mask.shape)
    for slot, start in zip(form.slots, starts[:-1], strict=True):
        end = full.index(tokenizer.image_end_id, start)
        for mask, filled in zip(image_mask, conditions, strict=True):
            mask[start:end] = slot in filled
    return replace(batch, image_mask=image_mask)


def _full_sequence(
    prompts: PromptBuilder, instruction: str, form: EditForm, num_tokens: int
) -> tuple[list[int], range]:
    """The sequence with every slot, and the positions that are padding in the unconditional one."""
    special, encode = prompts.tokenizer.special, prompts.tokenizer.encode

    def slot(token: str, count: int) -> str:
        return special.image_start + token * count + special.image_end

    opening, _, request = form.turn.partition("{instruction}")
    opening = opening.format(
        vision=slot(special.image, prompts.num_image_tokens),
        tokens=slot(special.image, num_tokens),
        padding=slot(special.pad, num_tokens),
    )
    text = prompts.generation_turn(opening + instruction + request)
    if form.blanks_whole_prompt:
        sequence = encode(text)
        return sequence, range(1, len(sequence) - 1)

    # Tokenize in three pieces, as in training, so that no token spans the edges of the instruction.
    start = text.index(opening) + len(opening)
    end = start + len(instruction)
    before, middle, after = encode(text[:start]), encode(text[start:end])[1:], encode(text[end:])[1:]
    return [*before, *middle, *after], range(len(before), len(before) + len(middle))
