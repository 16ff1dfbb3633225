"""Samples as token sequences, with exactly the prompts that the pipeline builds at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..pipeline.pipeline import JanusPipeline
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.edit_forms import EditForm
from ..processing.edit_prompts import edit_prompt
from ..prompt_batch import PromptBatch
from ..sampling.image_sampler import IMAGE_SAMPLERS
from .samples import Sample

IGNORED = -100


@dataclass
class TokenSequence:
    """The tokens of one sample."""

    ids: list[int]  # with placeholders for input images and for the image to generate
    labels: list[int]  # the id that each position has to predict, or `IGNORED`
    generated: range = range(0)  # positions of the tokens of the image to generate
    # For each of the first positions, whether an input image's embedding replaces the token's own.
    image_mask: list[bool] = field(default_factory=list)
    gap: int = 0  # rotary positions that are left out before the image to generate, of hidden padding
    copies: int = 1  # of the image to generate, one after the other in `generated`


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences padded on the right, where causal attention never sees the padding."""

    prompt: PromptBatch
    labels: Tensor  # [B, T] text ids to predict, or `IGNORED`
    generated: Tensor  # [B, T] bool, True at the tokens of images to generate
    predicts_image: Tensor  # [B, T] bool, True at the positions that predict these tokens
    visible: Tensor | None  # [B, 1, T, T] bool, True where a token sees another; None: all before it

    def to(self, device: torch.device) -> SequenceBatch:
        """Copies the batch to a device."""
        return SequenceBatch(
            self.prompt.to(device),
            self.labels.to(device),
            self.generated.to(device),
            self.predicts_image.to(device),
            None if self.visible is None else self.visible.to(device),
        )


def conversation_sequence(
    pipeline: JanusPipeline, sample: Sample, system_prompt: str = DEFAULT_SYSTEM_PROMPT
) -> TokenSequence:
    """Builds a conversation in which the answers and their end tokens are to be predicted.

    Checks that image tags and pictures are equally many, and that the model's context is long enough.
    """
    prompts, tokenizer = pipeline.prompts, pipeline.prompts.tokenizer
    # `prompts.understanding` checks the first question; anywhere else, a tag would be left without an image.
    later = [part for turn in sample.turns for part in turn][1:]
    if any(tokenizer.special.image in part for part in later):
        raise ValueError(
            f"turns after the first question must hold no {tokenizer.special.image}, got one; remove it"
        )
    num_images = int(sample.picture is not None)
    sequence = TokenSequence([], [])
    for index, (question, answer) in enumerate(sample.turns):
        if index == 0:
            batch = prompts.understanding([question], num_images, system_prompt)
            prompt, sequence.image_mask = batch.input_ids[0].tolist(), batch.image_mask[0].tolist()
        else:
            prompt = tokenizer.encode(prompts.chat.question(question))[1:]
        completion = [*tokenizer.encode(prompts.chat.answer(answer))[1:], tokenizer.eos_id]
        sequence.ids += prompt + completion
        # Each position predicts the next token: the last of the question predicts the first of the answer.
        sequence.labels += [IGNORED] * (len(prompt) - 1) + completion + [IGNORED]
    if len(sequence.ids) > prompts.max_length:
        raise ValueError(
            f"conversation must fit into the model's context of {prompts.max_length} tokens, got "
            f"{len(sequence.ids)}; shorten it or split it"
        )
    return sequence


def generation_sequence(
    pipeline: JanusPipeline, caption: str, drop_caption: bool, copies: int = 1
) -> TokenSequence:
    """Builds a caption with the tokens of its image to predict.

    With `drop_caption`, it is the unconditional prompt of classifier-free guidance instead. Copies of the
    image, each with a noise of its own, follow the same caption and do not see each other.
    """
    style = IMAGE_SAMPLERS[type(pipeline.model.generation)].prompt_style
    prompt = pipeline.prompts.generation(
        caption, "", use_cfg=True, num_new=_num_tokens(pipeline), style=style
    )
    return _with_image(pipeline, prompt, int(drop_caption), copies)


def edit_sequence(pipeline: JanusPipeline, instruction: str, form: EditForm, condition: int) -> TokenSequence:
    """Builds one of the prompts of an edit, with the tokens of its result to predict.

    `condition` is an index of `form.conditions`. Without an instruction, no words are in the sequence.
    """
    prompt = edit_prompt(
        pipeline.prompts,
        instruction,
        form,
        _num_tokens(pipeline),
        use_cfg=True,
        use_source=form.has_partial_condition,
    )
    return _with_image(pipeline, prompt, condition)


def batch_sequences(pipeline: JanusPipeline, sequences: Sequence[TokenSequence]) -> SequenceBatch:
    """Pads sequences to one length."""
    ids = pad_right([sequence.ids for sequence in sequences], pipeline.prompts.tokenizer.pad_id)
    labels = pad_right([sequence.labels for sequence in sequences], IGNORED)
    generated = torch.zeros_like(ids, dtype=torch.bool)
    image_mask = torch.zeros_like(generated)
    positions = torch.arange(ids.shape[1]).repeat(len(sequences), 1)
    copies = torch.zeros_like(ids)  # 0 in the prompt, 1 in the first copy of the image, 2 in the next, …
    for index, sequence in enumerate(sequences):
        generated[index, sequence.generated.start : sequence.generated.stop] = True
        image_mask[index, : len(sequence.image_mask)] = torch.tensor(sequence.image_mask, dtype=torch.bool)
        positions[index, sequence.generated.start :] += sequence.gap
        num_tokens = len(sequence.generated) // sequence.copies
        for copy in range(sequence.copies):
            first = sequence.generated.start + copy * num_tokens
            positions[index, first:] -= num_tokens if copy else 0
            copies[index, first:] += 1
    prompt = PromptBatch(ids, torch.ones_like(generated), positions, image_mask, padded=False)
    visible = None
    if any(sequence.copies > 1 for sequence in sequences):
        queries, keys = copies[:, None, :, None], copies[:, None, None, :]
        visible = ((keys == 0) | (keys == queries)).tril()
    return SequenceBatch(prompt, labels, generated, generated.roll(-1, dims=1), visible)


def pad_right(sequences: Sequence[Sequence[int]], value: int) -> Tensor:
    """Pads B sequences on the right to one length: [B, T] int64."""
    return pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True, padding_value=value)


def _num_tokens(pipeline: JanusPipeline) -> int:
    return pipeline.model.generation.config.num_tokens


def _with_image(pipeline: JanusPipeline, prompt: PromptBatch, row: int, copies: int = 1) -> TokenSequence:
    """Puts the positions of the copies of an image to generate after one row of a prompt."""
    is_visible, num_tokens = prompt.attention_mask[row], copies * _num_tokens(pipeline)
    ids = prompt.input_ids[row][is_visible].tolist()
    # Hidden tokens are left out, and those that would follow keep their positions.
    gap = int(prompt.position_ids[row, -1]) + 1 - len(ids)
    generated = range(len(ids), len(ids) + num_tokens)
    image_mask = prompt.image_mask[row][is_visible].tolist()
    ids += [pipeline.prompts.tokenizer.pad_id] * num_tokens
    return TokenSequence(ids, [IGNORED] * len(ids), generated, image_mask, gap, copies)
