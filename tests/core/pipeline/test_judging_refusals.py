"""What is not judged: no text, no image, no choice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.processing.chat import CHAT_FORMATS
from janus_nodes.janus_core.processing.judging import first_difference
from support.drawing import counted_images
from torch import Tensor

OPTIONS = ["red", "a blue circle"]


@pytest.mark.parametrize("description", ["", " \n", ["a cat", ""], None])
def test_an_empty_description_is_refused(pipe: JanusPipeline, images: Tensor, description: Any) -> None:
    rows = images[:2] if isinstance(description, list) else images
    with counted_images(pipe) as sizes, pytest.raises(ValueError, match=r"^description must hold text, got"):
        pipe.score(rows, [None] if description is None else description)
    assert sizes == []


def test_a_template_without_a_place_is_refused(pipe: JanusPipeline, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^template must hold \{description\}, got 'Is it good\?'; write"):
        pipe.score(images, "a cat", template="Is it good?")


def test_nothing_to_score_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match=r"^images must hold at least one image to score, got None; pass"):
        pipe.score(None, "a cat")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "options must be at least 2, got 0; add another option"),
        (["a"], "options must be at least 2, got 1;"),
        (["a", " "], "options must hold text, got an empty one; remove it"),
        (["a", "b", " a"], "options must differ, got 'a' more than once; remove one"),
        ("ab", "options must be a list of texts, got the text 'ab'; put each into a list"),
        (["a", "<image_placeholder>"], "answers must hold no <image_placeholder>, got"),
    ],
)
def test_options_that_are_none_are_refused(
    pipe: JanusPipeline, images: Tensor, options: Any, message: str
) -> None:
    with counted_images(pipe) as sizes, pytest.raises(ValueError, match=f"^{message}"):
        pipe.choose(images, "What?", options)
    assert sizes == []


def test_an_empty_question_is_refused(pipe: JanusPipeline, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"^question must hold text"):
        pipe.choose(images, " ", OPTIONS)


def test_options_too_long_for_the_context_are_refused(pipe: JanusPipeline, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"must leave room .* got \d+ tokens and \d{5} more to write"):
        pipe.choose(images[:1], "What?", ["yes", "Why? " * 6000])


def test_a_template_of_chats_that_has_no_space_before_answers_is_followed(pipe: JanusPipeline) -> None:
    plain = replace(pipe, prompts=replace(pipe.prompts, chat=CHAT_FORMATS["plain"]))
    expected = plain.prompts.tokenizer.encode("What?\ncat")[len(plain.prompts.tokenizer.encode("What?\n")) :]
    assert plain.prompts.answers(["cat"], ["What?\n"]) == [expected]
    # The template strips the line break, and these letters would become one token of the whole.
    with pytest.raises(ValueError, match=r"^question must end where a token does, got 'A ph', which the"):
        plain.choose(None, "A ph", ["oto", "y"])


def test_answers_without_a_difference_are_refused() -> None:
    assert first_difference([1, 2, 3], [1, 5]) == ([1, 2], [1, 5])
    with pytest.raises(
        ValueError, match=r"^tokenizer must encode Yes and No differently, got tokens \[1, 2\] and \[1\]"
    ):
        first_difference([1, 2], [1])
