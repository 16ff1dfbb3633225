"""One free request: the model's own decision, rules only where the input forces them, and nothing unasked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling, reply, route
from janus_nodes.janus_core.pipeline.routing import LETTERS, TASKS, possible_tasks, routing_question
from torch import Tensor

SHORT, ONE = TextSampling(max_new_tokens=4), TokenSampling(seed=3)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 20, 30, 3, generator=torch.Generator().manual_seed(1))


def test_only_the_input_rules_tasks_out(pipe: JanusPipeline, image: Tensor) -> None:
    editor = replace(pipe, edit_form="janus-4o")
    assert possible_tasks(pipe, None) == possible_tasks(editor, None) == ["understand", "generate"]
    assert possible_tasks(pipe, image) == ["understand", "generate", "describe and generate"]
    assert possible_tasks(editor, image) == list(TASKS)


def test_a_model_that_draws_by_a_flow_only_answers(flow_pipe: JanusPipeline, image: Tensor) -> None:
    decided = route(flow_pipe, "Draw a cat.", image)
    assert (decided.task, decided.shares) == ("understand", {"understand": 1.0})


def test_an_empty_description_is_not_drawn(
    pipe: JanusPipeline, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JanusPipeline, "understand", lambda *_, **__: [" <image_placeholder> "])
    with pytest.raises(RuntimeError, match=r"must describe the image to draw it, got an empty answer"):
        reply(pipe, "Describe and sketch it.", image, "describe and generate", SHORT, ONE)


@pytest.mark.parametrize("request_text", ["Draw a cat.", "What is this?"])
def test_the_decision_is_the_likelihood_of_the_letters(
    pipe: JanusPipeline, image: Tensor, request_text: str
) -> None:
    decided = route(pipe, request_text, image)
    letters = [LETTERS[TASKS.index(task)] for task in decided.shares]
    expected = pipe.choose(None, routing_question(request_text), letters)[0].tolist()
    assert list(decided.shares.values()) == expected
    assert decided.task == max(decided.shares, key=lambda task: decided.shares[task])


def test_each_task_gives_what_its_own_call_gives(pipe: JanusPipeline, image: Tensor) -> None:
    said = reply(pipe, "What is this?", image, "understand", SHORT, ONE)
    assert said.text == pipe.understand(image, "What is this?", SHORT)[0] and said.images is None
    drawn = reply(pipe, "A cat.", image, "generate", SHORT, ONE)
    assert drawn.text is None and torch.equal(drawn.images, pipe.generate("A cat.", ONE).images)
    editor = replace(pipe, edit_form="janus-4o")
    edited = reply(editor, "Make it night.", image, "edit", SHORT, ONE)
    assert edited.images.shape == (1, 64, 64, 3) and not torch.equal(edited.images, drawn.images)
    both = reply(pipe, "Describe and sketch it.", image, "describe and generate", SHORT, ONE)
    assert torch.equal(both.images, pipe.generate(both.text, ONE).images)


def test_a_task_computes_nothing_else(
    pipe: JanusPipeline, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("ran, though nothing asked for it")

    for name in ("generate", "edit"):
        monkeypatch.setattr(JanusPipeline, name, never)
    reply(pipe, "What is this?", image, "understand", SHORT)
    route(pipe, "Draw a cat.", image)


def test_wrong_requests_are_refused(pipe: JanusPipeline, image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"request must hold text, got ' '"):
        route(pipe, " ")
    with pytest.raises(ValueError, match=r"task must be one of understand, .* got 'dance'"):
        reply(pipe, "A cat.", None, "dance")
    with pytest.raises(ValueError, match=r"image must be given for task 'edit', got none"):
        reply(pipe, "A cat.", None, "edit")
    with pytest.raises(ValueError, match=r"image must be a single image, got 2"):
        reply(pipe, "A cat.", image.repeat(2, 1, 1, 1), "understand")
    with pytest.raises(ValueError, match=r"model must be trained to edit by instruction"):
        reply(pipe, "A cat.", image, "edit")


@pytest.mark.parametrize("task", ["generate", "edit", "describe and generate"])
def test_options_for_another_model_are_refused_before_anything_is_computed(
    flow_pipe: JanusPipeline, image: Tensor, task: str
) -> None:
    steps: list[int] = []
    with pytest.raises(ValueError, match=r"model must generate images with (Token|Edit)Sampling, got"):
        reply(flow_pipe, "A cat.", image, task, SHORT, TokenSampling(), on_text=lambda *step: steps.append(1))
    assert steps == []
    with pytest.raises(ValueError, match="model must generate images with EditSampling, got"):
        reply(flow_pipe, "A cat.", image, "edit")
