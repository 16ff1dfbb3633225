"""How an answer ended, and whether it repeats itself.

Reported of other models: m87-labs/moondream #44 (answers cut in the middle of a sentence) and
WASasquatch/was-node-suite-comfyui #262 (cut, and the same word without end).
"""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    Answer,
    Conversation,
    JanusPipeline,
    TextSampling,
    TokenSampling,
    Turn,
    repeats,
    reply,
)
from janus_nodes.janus_core.pipeline import answering
from torch import Tensor

QUESTION = "What shapes are there?"


@pytest.fixture(scope="module")
def white() -> Tensor:
    return torch.ones(1, 96, 96, 3)


@pytest.fixture(scope="module")
def whole(shapes_pipe: JanusPipeline, white: Tensor) -> Conversation:
    """An answer that the model ended itself."""
    return shapes_pipe.chat(QUESTION, white)


def num_tokens(pipe: JanusPipeline, said: Conversation) -> int:
    """Tokens of an answer, with the one that ends it."""
    last = said.turns[-1].answer
    return len(pipe.prompts.tokenizer.encode(last)) - 1 + (said.answer.finish_reason == "eos")


def test_an_answer_says_whether_the_model_ended_it(
    shapes_pipe: JanusPipeline, white: Tensor, whole: Conversation
) -> None:
    assert whole.answer.finish_reason == "eos" and not whole.answer.is_cut
    (cut,) = shapes_pipe.understand(white, QUESTION, TextSampling(max_new_tokens=2))
    assert isinstance(cut, Answer) and cut.finish_reason == "length" and cut.is_cut
    assert whole.answer.startswith(cut) and cut != whole.answer


def test_an_answer_that_ends_exactly_at_the_limit_is_whole(
    shapes_pipe: JanusPipeline, white: Tensor, whole: Conversation
) -> None:
    length = num_tokens(shapes_pipe, whole)
    exact, short = (
        shapes_pipe.understand(white, QUESTION, TextSampling(max_new_tokens=count))[0]
        for count in (length, length - 1)
    )
    # Without its end token, the text is the same; but nobody knows whether it would have gone on.
    assert (exact, exact.finish_reason) == (whole.answer, "eos")
    assert (short, short.finish_reason) == (whole.answer, "length")


def test_answers_of_a_batch_end_each_for_itself(shapes_pipe: JanusPipeline, white: Tensor) -> None:
    questions = [QUESTION, "Describe the image in detail.", "Is there a star?"]
    options = TextSampling(max_new_tokens=4)
    together = shapes_pipe.understand(white, questions, options)
    alone = [shapes_pipe.understand(white, question, options)[0] for question in questions]
    assert [each.finish_reason for each in together] == [each.finish_reason for each in alone]
    assert {each.finish_reason for each in together} == {"eos", "length"}


def test_an_answer_that_fills_the_context_is_cut_also_in_a_batch(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    (longer, shorter) = ("Who are you, and where do you come from?", "Who?")
    length = len(pipe.prompts.question(longer, 0, ""))
    monkeypatch.setattr(pipe.model.body, "config", replace(pipe.model.body.config))
    object.__setattr__(pipe.model.body.config, "max_position_embeddings", length + 3)
    answers = pipe.understand(None, [longer, shorter], TextSampling(max_new_tokens=50), system_prompt="")
    # The first has room for 3 tokens; the end tokens that follow while the second goes on are not its own.
    assert [each.finish_reason for each in answers] == ["length", "length"]
    assert len(answers[0]) < len(answers[1])


def test_every_turn_knows_how_its_answer_ended(
    shapes_pipe: JanusPipeline, white: Tensor, whole: Conversation
) -> None:
    again = shapes_pipe.chat(QUESTION, None, whole, TextSampling(max_new_tokens=1))
    assert [turn.finish_reason for turn in again.turns] == ["eos", "length"]
    assert again.before(-1).answer.finish_reason == "eos"
    assert again.answered("A star.").answer.finish_reason == "eos"
    assert Conversation(Path("model")).answer.finish_reason == "eos"
    assert Conversation(Path("model"), "", (Turn("What?", 0, " So"),)).answer == "So"


def test_a_checked_answer_still_says_that_it_was_cut(
    shapes_pipe: JanusPipeline, white: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "ATTEMPTS", 1)
    for count, reason in ((2, "length"), (64, "eos")):
        options = TextSampling(max_new_tokens=count)
        (answer,) = shapes_pipe.understand(white, QUESTION, options, check=str.upper)
        assert (answer.isupper(), answer.finish_reason) == (True, reason)


@pytest.mark.parametrize("task", ["understand", "describe and generate"])
def test_a_reply_says_how_its_text_ended(shapes_pipe: JanusPipeline, white: Tensor, task: str) -> None:
    for count, reason in ((2, "length"), (96, "eos")):
        options = TextSampling(max_new_tokens=count)
        said = reply(shapes_pipe, QUESTION, white, task, options, TokenSampling(guidance_scale=1.0))
        assert said.text.finish_reason == reason


@pytest.mark.parametrize(
    "same",
    [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))],  # noqa: S301
)
def test_an_answer_is_a_text_and_survives_copying(same: Any) -> None:
    answer = same(Answer("A cat.", "length"))
    assert (answer, answer.finish_reason) == ("A cat.", "length")
    assert json.dumps([answer]) == '["A cat."]'


@pytest.mark.parametrize(
    "text",
    [
        "The image shows " + "an orange triangle, " * 8,
        "An orange triangle, an orange triangle, an orange triangle, an ora",
        "A cat sits on the mat. " * 3,
        "A table.\n" + "- A cat sits on a red mat\n" * 5 + "- A cat si",
        "It is very " + "very " * 30,
        "图中有" + "一个橙色的三角形，" * 4,
        "とても" * 20,
        "A dog and A DOG, and a dog and a dog and a dog and a dog and a dog, and",
    ],
)
def test_the_same_words_again_and_again_are_noticed(text: str) -> None:
    assert repeats(text) and Answer(text).repeats


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A cat.",
        "a red star, a blue star, a green star, a yellow star, a grey star, a white star, a black star",
        "A red star, a red star, a red star.",
        "No, no, no!",
        "An orange triangle, an orange triangle, an orange triangle: three of them, above a blue circle.",
        "An orange triangle on the left and an orange triangle on the right.",
        "The cat is black. The dog is white. The bird is blue. The horse is brown. The fish is gold.",
        r"\begin{pmatrix} 0 & 0 & 0 \\ 0 & 0 & 0 \\ 0 & 0 & 0 \end{pmatrix}",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30",
        "|---|---|---|\n" * 20,
        "." * 400,
        "一只猫坐在红色的垫子上，一只狗坐在蓝色的垫子上，一只鸟坐在绿色的垫子上。",
    ],
)
def test_lists_and_short_repetitions_are_not(text: str) -> None:
    assert not repeats(text)


def test_a_long_text_is_read_quickly() -> None:
    words = " ".join(str(number * number % 9973) for number in range(16000))
    assert not repeats(words)
