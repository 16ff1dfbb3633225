"""Rows of the form for any checkpoint; those of fine-tunes are compared in `tests/core/pipeline`."""

from __future__ import annotations

import pytest
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.processing.thinking_forms import THINKING_FORMS
from janus_nodes.janus_core.processing.thinking_prompts import image_row


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        (" a cup ", "a cup. It is red."),
        ("A cup.", "A cup. It is red."),
        ("一个杯子。", "一个杯子。 It is red."),
        ("a {prompt} {thought}", "a {prompt} {thought}. It is red."),
    ],
)
def test_a_description_follows_the_prompt_as_a_sentence(prompt: str, text: str, pipe: JanusPipeline) -> None:
    thinking, tokenizer = THINKING_FORMS["describe"].thinking, pipe.prompts.tokenizer
    assert thinking is not None
    row = image_row(pipe.prompts, thinking, [], prompt, tokenizer.encode("It is red.")[1:])
    assert row == tokenizer.encode(pipe.prompts.generation_turn(text))
