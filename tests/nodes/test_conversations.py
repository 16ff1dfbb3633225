"""Conversations between nodes: prompt tokens processed and reused, history values, JSON answers."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import Conversation, JanusPipeline, TextSampling
from janus_nodes.janus_core.pipeline import answering
from janus_nodes.nodes import understand
from janus_nodes.nodes.choices import RENAMED
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.understand import JanusUnderstand
from support.node_runs import prepared, run_and_show, widgets
from torch import Tensor

SHORT = TextSampling(max_new_tokens=6)


def ask(
    question: str, prompt: dict[str, Any] | None = None, **inputs: Any
) -> tuple[list[str], list[Conversation]]:
    """Runs Understand as ComfyUI does, as node 1 of a prompt."""
    node = prepared(JanusUnderstand, unique_id="1", prompt=prompt)
    values = widgets(JanusUnderstand) | {"question": question, "max_new_tokens": 6} | inputs
    output = node.EXECUTE_NORMALIZED(**values)
    return output.args


@pytest.fixture
def janus(loaded: LoadedJanus, sent: list[tuple[str, str]]) -> LoadedJanus:
    """The golden checkpoint, with a server that takes the streamed text."""
    return loaded


@pytest.fixture
def pictures() -> Tensor:
    """Three different images."""
    return torch.rand(3, 24, 40, 3, generator=torch.Generator().manual_seed(0))


def test_turns_continue_from_node_to_node(janus: LoadedJanus, core: JanusPipeline, pictures: Tensor) -> None:
    _, (first,) = ask("What is this?", model=janus, image=pictures[:1])
    _, (second,) = ask("Which colour?", model=janus, conversation=first)
    answers, (third,) = ask("And this?", model=janus, conversation=second, image=pictures[1:2])

    expected = core.chat("What is this?", pictures[:1], options=SHORT)
    expected = core.chat("Which colour?", None, expected, SHORT)
    expected = core.chat("And this?", pictures[1:2], expected, SHORT)
    assert third.turns == expected.turns
    assert answers == [expected.answer]
    assert second.tokens_reused >= first.tokens_read > second.tokens_read


def test_a_batch_gives_one_conversation_per_image(janus: LoadedJanus, pictures: Tensor) -> None:
    answers, conversations = ask("What is this?", model=janus, image=pictures)
    assert [conversation.answer for conversation in conversations] == answers
    for index, conversation in enumerate(conversations):
        _, (alone,) = ask("What is this?", model=janus, image=pictures[index : index + 1])
        assert (
            ask("Why?", model=janus, conversation=conversation)[0]
            == ask("Why?", model=janus, conversation=alone)[0]
        )


def test_a_conversation_continues_with_each_image_of_a_batch_or_with_all(
    janus: LoadedJanus, pictures: Tensor
) -> None:
    _, (first,) = ask("What is this?", model=janus, image=pictures[:1])
    answers, branches = ask("And this?", model=janus, conversation=first, image=pictures[1:])
    assert [branch.num_images for branch in branches] == [2, 2]
    assert answers[1:] == ask("And this?", model=janus, conversation=first, image=pictures[2:])[0]
    together = understand.ALL_TOGETHER
    _, (whole,) = ask("And these?", model=janus, conversation=first, image=pictures[1:], batch=together)
    assert [turn.num_images for turn in whole.turns] == [1, 2]


def test_starting_over_drops_the_turns_and_keeps_the_images(janus: LoadedJanus, pictures: Tensor) -> None:
    _, (first,) = ask("What is this?", model=janus, image=pictures[:1])
    went_on, _ = ask("Which colour?", model=janus, conversation=first)
    answers, (again,) = ask("Which colour?", model=janus, conversation=first, history=understand.START_OVER)
    assert answers == ask("Which colour?", model=janus, image=pictures[:1])[0] != went_on
    assert again.tokens_read < 30 < again.tokens_reused


def test_a_conversation_keeps_its_system_prompt(janus: LoadedJanus) -> None:
    _, (first,) = ask("Hello!", model=janus, system_prompt="Be brief.")
    _, (second,) = ask("Why?", model=janus, conversation=first, system_prompt="Be long.")
    assert second.system_prompt == "Be brief."


def test_processed_and_reused_tokens_are_logged(janus: LoadedJanus, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _, (first,) = ask("Hello!", model=janus)
        _, (second,) = ask("Why?", model=janus, conversation=first)
    told = [record.getMessage() for record in caplog.records if "Understand" in record.getMessage()]
    assert told == [
        f"Janus Understand processed {each.tokens_read} prompt tokens and reused {each.tokens_reused} from "
        "its cache."
        for each in (first, second)
    ]


@pytest.mark.parametrize("taken", [False, True])
def test_the_cache_is_kept_only_if_the_conversation_is_connected(janus: LoadedJanus, taken: bool) -> None:
    prompt = {
        "1": {"class_type": "JanusUnderstand", "inputs": {"question": "Hello!"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        "3": {"class_type": "JanusUnderstand", "inputs": {"conversation": ["1", 1]} if taken else {}},
    }
    _, (first,) = ask("Hello!", prompt, model=janus)
    assert (first.saved_prefix is not None) is taken
    _, (second,) = ask("Why?", model=janus, conversation=first)
    assert (second.tokens_reused > 0) is taken


def test_answers_that_were_cut_off_say_so_on_the_node_and_nowhere_else(
    loaded: LoadedJanus, sent: list[tuple[str, str]], pictures: Tensor
) -> None:
    (answers, _), shown = run_and_show(JanusUnderstand, model=loaded, image=pictures, max_new_tokens=6)
    assert shown == {
        "text": ("\n\n".join(answers),),
        "note": ("[3 of 3 stopped at max_new_tokens = 6, or at the end of the model's context]",),
    }
    assert all(type(answer) is str and "stopped" not in answer for answer in answers)
    assert sent[-1][1] == "\n\n".join(answers)  # the last text that is streamed is the whole one


def test_json_answers_are_requested_and_output_on_one_line(
    janus: LoadedJanus, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = iter(["no", "well", 'Here:\n```json\n{"colour":\n "红"}\n```'])
    monkeypatch.setattr(janus.pipeline.prompts.tokenizer, "decode", lambda ids: next(texts, ""))
    monkeypatch.setattr(understand.TextReport, "__call__", lambda *step: None)
    answers, (said,) = ask("Which colour?", model=janus, answer_format=understand.JSON)
    assert answers == [said.answer] == ['{"colour": "红"}']
    assert json.loads(answers[0]) == {"colour": "红"}
    assert said.turns[0].question == "Which colour?\nAnswer with JSON only."


def test_the_error_after_all_attempts_shows_the_last_answer(janus: LoadedJanus) -> None:
    wrong = (
        rf"answer must hold JSON, got '.*'; say .* \(answer 1, the last of {answering.ATTEMPTS} attempts\)"
    )
    with pytest.raises(RuntimeError, match=f"(?s){wrong}"):
        ask("Which colour?", model=janus, answer_format=understand.JSON)


@pytest.mark.parametrize("answer_format", understand.FORMATS)
def test_neither_question_nor_task_is_an_error(janus: LoadedJanus, answer_format: str) -> None:
    with pytest.raises(ValueError, match="question must hold text, got ' '"):
        ask(" ", model=janus, answer_format=answer_format)


@pytest.mark.parametrize("widget", ["history", "answer_format"])
def test_choices_that_do_not_exist_are_refused(janus: LoadedJanus, widget: str) -> None:
    with pytest.raises(ValueError, match=f"{widget} must be one of .*, got 'other'; choose one of these"):
        ask("Why?", model=janus, **{widget: "other"})


@pytest.mark.parametrize("former", RENAMED)
def test_a_former_history_value_means_the_same_as_its_present_name(
    janus: LoadedJanus, pictures: Tensor, former: str
) -> None:
    _, (first,) = ask("What is this?", model=janus, image=pictures[:1])
    present = RENAMED[former]
    assert present in understand.HISTORIES
    answers, (said,) = ask("Which colour?", model=janus, conversation=first, history=former)
    expected_answers, (expected,) = ask("Which colour?", model=janus, conversation=first, history=present)
    assert answers == expected_answers
    assert said.turns == expected.turns
    assert len(said.turns) == (2 if present == understand.CONTINUE else 1)


def test_validation_takes_present_and_former_values_and_no_others() -> None:
    for history in (*understand.HISTORIES, *RENAMED):
        assert JanusUnderstand.validate_inputs(history=history) is True
    assert JanusUnderstand.validate_inputs() is True
    assert JanusUnderstand.validate_inputs(history=None) is True  # a linked value is unknown at that time
    assert "history must be one of continue," in JanusUnderstand.validate_inputs(history="other")


def test_former_values_are_known_by_name() -> None:
    assert RENAMED == {
        "go on with its turns": "continue",
        "ask afresh about its images": "start over, keep the images",
    }


def test_the_canvas_knows_the_same_former_values() -> None:
    script = Path(__file__).resolve().parents[2] / "web" / "janus_saved.js"
    (table,) = re.findall(r"const RENAMED = \{(.*?)\};", script.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert dict(re.findall(r'"([^"]+)": "([^"]+)"', table)) == RENAMED
