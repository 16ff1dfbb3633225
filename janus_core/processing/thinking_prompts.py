"""Builds the token sequences of thinking and reviewing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..arguments import checked_text, shown
from ..file_io import read_json_if_present, read_text
from .prompts import PromptBuilder
from .thinking_forms import DEFAULT_QUESTION, Review, Thinking

QUESTION_FILE = "reasoning_prompt.txt"
_SLOT = "{}"
_SENTENCE_ENDS = ".!?:;。！？：；…"


def read_question(folder: Path) -> str:
    """The question that a checkpoint is asked for a thought, else our own.

    Looked up in this order: the file of the checkpoint's authors, if a user has put it into the folder; the
    `reasoning_prompt` entry of `processor_config.json`, which only this package writes.

    Raises:
        ValueError: if the question does not hold exactly one {}.
    """
    file, config = folder / QUESTION_FILE, folder / "processor_config.json"
    if file.is_file():
        return checked_question(f"{file}", read_text(file))
    entry = read_json_if_present(config).get("reasoning_prompt")
    return DEFAULT_QUESTION if entry is None else checked_question(f"reasoning_prompt in {config}", entry)


def checked_question(name: str, question: object) -> str:
    """Strips a question; raises ValueError if it is no text, or does not hold exactly one {}."""
    text = checked_text(name, question, "write a question with {} where the prompt goes").strip()
    if text.count(_SLOT) != 1:
        raise ValueError(
            f"{name} must hold {_SLOT} once, got it {text.count(_SLOT)} times in {shown(text)}; write it "
            "where the prompt goes"
        )
    return text


def check_prompt(prompts: PromptBuilder, name: str, text: str) -> None:
    """Raises ValueError if what to draw is empty, or holds special tokens."""
    checked_text(name, text, "describe the image to draw")
    if found := prompts.tokenizer.special_tokens_in(text):
        raise ValueError(
            f"{name} must hold no special tokens, got {', '.join(found)} in {shown(text)}; remove them"
        )


def asking_row(prompts: PromptBuilder, thinking: Thinking, prompt: str, question: str) -> list[int]:
    """Token ids of the turn that asks for a thought, ending where the thought begins."""
    if "{question}" in thinking.ask:
        before, after = question.split(_SLOT)
        text = thinking.ask.replace("{question}", f"{before}{prompt.strip()}{after}")
    else:
        text = thinking.ask.replace("{prompt}", prompt)
    return prompts.tokenizer.encode(prompts.turn(text, thinking.system_prompt))


def image_row(
    prompts: PromptBuilder, thinking: Thinking, asked: Sequence[int], prompt: str, thought: Sequence[int]
) -> list[int]:
    """Token ids that an image is drawn after: those of a turn, or the asking row `asked` and the thought."""
    tokenizer = prompts.tokenizer
    if not thinking.turn:
        return [*asked, *thought, tokenizer.image_start_id]
    text = prompt.strip()
    if "{sentence}" in thinking.turn and text[-1] not in _SENTENCE_ENDS:
        text += "."
    start, _, between = thinking.turn.replace("{sentence}", "{prompt}").partition("{prompt}")
    between, _, end = between.partition("{thought}")
    turn = f"{start}{text}{between}{tokenizer.decode(thought)}{end}"
    return tokenizer.encode(prompts.generation_turn(turn))


def blank_row(prompts: PromptBuilder, row: Sequence[int]) -> list[int]:
    """The unconditional row: padding but for the first token and the image start."""
    return [row[0], *[prompts.tokenizer.pad_id] * (len(row) - 2), row[-1]]


def end_ids(prompts: PromptBuilder, ends: Sequence[str]) -> list[int]:
    """Ids of the tokens that end a thought or a reflection."""
    return [getattr(prompts.tokenizer, f"{name}_id") for name in ends]


def without_end(thought: Sequence[int], ends: Sequence[int]) -> list[int]:
    """The ids before the first of those that end a thought."""
    return list(thought[: next((index for index, token in enumerate(thought) if token in ends), None)])


def judging_tail(prompts: PromptBuilder, review: Review) -> list[int]:
    """Token ids between an image and the verdict."""
    return prompts.encode_part(review.judge)


def redrawing_tail(prompts: PromptBuilder, review: Review) -> list[int]:
    """Token ids between a reflection and the image that is drawn again, its image start included."""
    return prompts.encode_part(review.redraw)


def verdict_ids(prompts: PromptBuilder, review: Review) -> list[int]:
    """The tokens that a review may start with, that which keeps the image first.

    Raises:
        ValueError: if the tokenizer has one token for both.
    """
    ids = [prompts.encode_part(text)[-1] for text in review.verdicts]
    if ids[0] == ids[1]:
        raise ValueError(
            f"tokenizer must encode {' and '.join(review.verdicts)} differently, got token {ids[0]} at the "
            "end of both; use the tokenizer.json that belongs to the checkpoint"
        )
    return ids
