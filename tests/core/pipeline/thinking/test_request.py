"""What think_and_draw refuses, each with one sentence that says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    THINKING_FORM_CHOICES,
    JanusPipeline,
    TextSampling,
    TokenSampling,
    load_pipeline,
    save_checkpoint,
)
from support.checkpoints import copy_checkpoint, edit_json
from support.drawing import traced

PROMPT = "An orange bicycle."
SHORT = TextSampling(max_new_tokens=4)
FORMS = THINKING_FORM_CHOICES[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": ""}, "prompt must hold text, got ''; describe the image to draw"),
        ({"prompt": " \n"}, "prompt must hold text, got"),
        ({"prompt": None}, "prompt must hold text, got None"),
        (
            {"prompt": "a <begin_of_image> dog<｜end▁of▁sentence｜>"},
            "prompt must hold no special tokens, got <begin_of_image>, <｜end▁of▁sentence｜> in",
        ),
        ({"form": "flux"}, "form must be one of auto, describe, t2i-r1, .*, got 'flux'; choose one of these"),
        ({"form": None}, "form must be one of auto, .*, got None"),
        ({"rounds": -1}, r"rounds must be at least 0 \(0 draws only\), got -1"),
        ({"rounds": 1.5}, "rounds must be a whole number, got 1.5"),
        (
            {"rounds": 2, "form": "got-r1"},
            "rounds must be 0 or 1 for form 'got-r1', which does not review images, got 2; lower it",
        ),
        ({"thoughts": []}, "thoughts must be 1 or 2, as many as images, got list of 0"),
        ({"thoughts": ["a", "b", "c"]}, "thoughts must be 1 or 2, as many as images, got list of 3"),
        ({"thoughts": 3}, "thoughts must be 1 or 2, as many as images, got 3"),
        ({"thoughts": [3]}, "thoughts must be texts or lists of token ids, got 3"),
        ({"thoughts": [[3, 448]]}, "thoughts must hold token ids from 0 to 447, got 448"),
        ({"thoughts": [[3, "x"]]}, "thoughts must be a whole number, got 'x'"),
        (
            {"thoughts": "a <begin_of_image>"},
            "thoughts must hold no special tokens, got <begin_of_image> in .*; remove them",
        ),
        (
            {"thoughts": "a dog", "form": "janus-pro-r1"},
            "thoughts must be left out for form 'janus-pro-r1', which draws first and thinks then, got 'a",
        ),
        (
            {"question": "Describe it."},
            r"question must hold \{\} once, got it 0 times in 'Describe it.'; write",
        ),
        ({"question": "{} and {}"}, r"question must hold \{\} once, got it 2 times"),
        ({"question": ""}, "question must hold text, got ''"),
        (
            {"question": "{}?", "form": "got-r1"},
            r"question must be left out for form 'got-r1', which asks in its own words, got '\{\}\?'; remove",
        ),
        (
            {"question": "<image_placeholder> {}"},
            "question must hold no special tokens, got <image_placeholder> in .*; remove them",
        ),
        ({"thinking": TokenSampling()}, "thinking must be TextSampling, got TokenSampling"),
        ({"options": TextSampling()}, "options must be TokenSampling or FlowSampling, got TextSampling"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str, pipe: JanusPipeline) -> None:
    usual = {"prompt": PROMPT, "options": TokenSampling(batch_size=2), "thinking": SHORT}
    with traced(pipe.model) as trace, pytest.raises(ValueError, match=message):
        pipe.think_and_draw(**(usual | arguments))
    assert trace.inputs == []


def test_a_form_whose_tokens_the_model_has_no_room_for_is_refused(shapes_pipe: JanusPipeline) -> None:
    message = r"form must be one whose tokens the model has room for, got 'got-r1', which adds <\|box_start"
    with pytest.raises(ValueError, match=message):
        shapes_pipe.think_and_draw(PROMPT, "got-r1")


@pytest.mark.parametrize("form", THINKING_FORM_CHOICES)
def test_models_that_draw_by_flow_are_refused(form: str, flow_pipe: JanusPipeline) -> None:
    message = (
        f"form must be one of a model that draws token by token, got '{form}' for 'janusflow-tiny', which"
    )
    with pytest.raises(ValueError, match=message):
        flow_pipe.think_and_draw(PROMPT, form)
    with pytest.raises(ValueError, match=message):
        flow_pipe.resolve_thinking_form(form)


def short_context(pipe: JanusPipeline, tokens: int) -> JanusPipeline:
    """The same model with a shorter context."""
    return replace(pipe, prompts=replace(pipe.prompts, max_length=tokens))


@pytest.mark.parametrize("form", FORMS)
def test_a_prompt_that_leaves_no_room_for_a_thought_is_refused(form: str, pipe: JanusPipeline) -> None:
    with (
        traced(pipe.model) as trace,
        pytest.raises(
            ValueError,
            match=r"prompt must leave room in the model's context of 40 tokens, got \d+ tokens and",
        ),
    ):
        short_context(pipe, 40).think_and_draw(PROMPT, form)
    assert trace.inputs == []


def test_a_thought_stops_where_the_image_would_not_fit_any_more(pipe: JanusPipeline) -> None:
    head = len(
        pipe.prompts.tokenizer.encode(
            pipe.prompts.turn(f"A photo of {PROMPT}. Output a richly detailed prompt:")
        )
    )
    full = short_context(pipe, head + 7 + 1 + 16)
    drawn = full.think_and_draw(PROMPT, "reasongen-r1", TokenSampling(temperature=0.0))
    assert len(drawn.thought_ids[0]) == 7
    assert drawn.notes == ("The thought of image 1 was cut off before its end; raise max_new_tokens.",)


def test_a_given_thought_that_fills_the_context_is_refused(pipe: JanusPipeline) -> None:
    with (
        traced(pipe.model) as trace,
        pytest.raises(
            ValueError,
            match=r"thoughts must leave room in the model's context of 200 tokens, got \d+ tokens and 16",
        ),
    ):
        short_context(pipe, 200).think_and_draw(PROMPT, "got-r1", thinking=SHORT, thoughts=[[5] * 190])
    assert trace.inputs == []


def test_the_authors_question_is_read_from_the_checkpoint(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "T2I-R1")
    pipe, drawing = load_pipeline(folder, dtype=torch.float32), TokenSampling(temperature=0.0)
    assert pipe.thinking_form == "t2i-r1"
    own = pipe.think_and_draw(PROMPT, options=drawing, thinking=SHORT)
    file = folder / "reasoning_prompt.txt"
    file.write_text("\n What is in a {picture} of {}? \n", encoding="utf-8")
    theirs = pipe.think_and_draw(PROMPT, options=drawing, thinking=SHORT)
    asked = "What is in a {picture} of {}?"
    given = pipe.think_and_draw(PROMPT, options=drawing, thinking=SHORT, question=asked)
    assert theirs.thought_ids == given.thought_ids != own.thought_ids
    save_checkpoint(pipe, tmp_path / "saved")
    assert (tmp_path / "saved" / file.name).read_bytes() == file.read_bytes()
    assert load_pipeline(tmp_path / "saved").thinking_form == "t2i-r1"
    for text, count in (("What do you see?", 0), ("{} or {}?", 2)):
        file.write_text(text, encoding="utf-8")
        message = (
            rf"reasoning_prompt\.txt must hold {{}} once, got it {count} times in '.*'; write it where the"
        )
        with pytest.raises(ValueError, match=message):
            pipe.think_and_draw(PROMPT, thinking=SHORT)
    file.write_text(" ", encoding="utf-8")
    with pytest.raises(ValueError, match=r"reasoning_prompt\.txt must hold text, got ' '; write a question"):
        pipe.think_and_draw(PROMPT, thinking=SHORT)


def test_tokens_of_thoughts_are_added_at_load(tmp_path: Path) -> None:
    pipe = load_pipeline(copy_checkpoint("janus-pro-tiny", tmp_path / "GoT-R1-7B"))
    assert pipe.prompts.tokenizer.encode("<|box_start|>")[1:] == [437]
    assert pipe.decode_text(torch.tensor([[437]])) == ["<|box_start|>"]


def test_a_tokenizer_without_the_end_of_a_thought_is_refused(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "GoT-R1-7B")
    edit_json(folder / "processor_config.json", lambda entries: entries.update(image_start_tag="<boi>"))
    with pytest.raises(
        ValueError, match="must contain the special tokens of Janus, got none named <boi>; use"
    ):
        load_pipeline(folder)


def test_a_tokenizer_with_equal_verdicts_is_refused(pipe: JanusPipeline) -> None:
    class Same(type(pipe.prompts.tokenizer)):  # type: ignore[misc]
        def encode(self, text: str) -> list[int]:
            return [self.bos_id, 7] if text in ("Yes", "No") else super().encode(text)

    tokenizer = Same.__new__(Same)
    vars(tokenizer).update(vars(pipe.prompts.tokenizer))
    same = replace(pipe, prompts=replace(pipe.prompts, tokenizer=tokenizer))
    with pytest.raises(
        ValueError, match="tokenizer must encode Yes and No differently, got token 7 at the end"
    ):
        same.think_and_draw(PROMPT, "janus-pro-r1")
