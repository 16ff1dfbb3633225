"""Several prompts in one run: a text with one per line becomes a list.

Asked for in Comfy-Org/ComfyUI #7880, #7734 and #1561.
"""

from __future__ import annotations

import pytest
from janus_nodes.nodes.prompt_list import JanusPromptList
from support.node_runs import run


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("A cat.", ["A cat."]),
        ("A cat.\nA dog.\n", ["A cat.", "A dog."]),
        ("\n  A cat.\t\r\n \r\nA dog, a bird.\n\n", ["A cat.", "A dog, a bird."]),
        ("一只猫\n一只狗", ["一只猫", "一只狗"]),
        ("A cat.\nA cat.", ["A cat.", "A cat."]),
    ],
)
def test_each_line_that_holds_text_is_a_prompt(text: str, prompts: list[str]) -> None:
    assert run(JanusPromptList, prompts=text) == (prompts,)


@pytest.mark.parametrize("text", ["", " \n\r\n\t"])
def test_no_prompt_at_all_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^prompts must hold text, got '.*'; write one prompt per line$"):
        run(JanusPromptList, prompts=text)
