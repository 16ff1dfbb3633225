"""Chat templates: the reference's strings, character by character."""

from __future__ import annotations

from typing import Any

import pytest
from janus_nodes.janus_core import CHAT_FORMATS, DEFAULT_SYSTEM_PROMPT
from janus_nodes.janus_core.processing.chat import Message, chat_format


@pytest.mark.parametrize("template", ["deepseek", "deepseek_old", "plain", "alignment"])
def test_templates_render_the_recorded_prompts(recorded: Any, template: str) -> None:
    prompts = recorded.value("sft_prompts")
    assert {name.split("/")[1] for name in prompts} == set(CHAT_FORMATS)
    for name, expected in prompts.items():
        conversation, used, system = name.split("/")
        if used == template:
            system_prompt = DEFAULT_SYSTEM_PROMPT if system == "system" else ""
            rendered = chat_format(template).render(recorded.messages(conversation), system_prompt)
            assert rendered == expected, name


@pytest.mark.parametrize(
    "conversation",
    ["text_only", "one_image", "two_images", "multi_turn", "multi_turn_multi_image", "old_roles"],
)
def test_conversations_render_as_the_processor_does(recorded: Any, conversation: str) -> None:
    rendered = chat_format("deepseek").render(recorded.messages(conversation), DEFAULT_SYSTEM_PROMPT)
    assert rendered == recorded.value(f"sft_format.{conversation}")


def test_a_question_is_a_user_turn_with_room_for_the_answer() -> None:
    assert chat_format("deepseek").question("  Why? ") == "<|User|>: Why?\n\n<|Assistant|>:"
    assert chat_format("deepseek").question("Why?", "Be brief.").startswith("Be brief.\n\n<|User|>: Why?")
    assert chat_format("plain").question("Why?", "Be brief.") == "Why?"


def test_role_texts_are_overridable_in_templates_that_show_them() -> None:
    roles = ("Human", "Robot")
    assert chat_format("deepseek", roles).question("Why?") == "Human: Why?\n\nRobot:"
    assert chat_format("plain", roles) == CHAT_FORMATS["plain"]


def test_separators_alternate_with_the_turns() -> None:
    turns = [Message("A", "one"), Message("B", "two"), Message("A", "three"), Message("B", "")]
    rendered = chat_format("deepseek").render(turns)
    assert rendered == "A: one\n\nB: two<｜end▁of▁sentence｜>A: three\n\nB:"


def test_unknown_template_is_named() -> None:
    with pytest.raises(ValueError, match=r"chat template must be one of deepseek, .*, got 'llava'"):
        chat_format("llava")


@pytest.mark.parametrize(
    "roles", [[], 5, "ab", ("a",), ("a", "b", "c"), (1, 2), ("a", None), ("a", "\ud800")]
)
def test_roles_are_two_texts(roles: Any) -> None:
    with pytest.raises(ValueError, match=r"^roles must "):
        chat_format("deepseek", roles)
