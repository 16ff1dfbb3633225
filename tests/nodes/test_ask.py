"""Janus Ask: the core's decision and result, and outputs without a value, which block the nodes behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling, reply, route
from janus_nodes.nodes import memory
from janus_nodes.nodes.ask import JanusAsk
from janus_nodes.nodes.memory import LoadedJanus
from support.node_runs import run, run_and_show, widgets

pytestmark = pytest.mark.usefixtures("sent")  # texts go onto running nodes

SHORT = TextSampling(max_new_tokens=4)


def ask(loaded: LoadedJanus, **inputs: object) -> tuple[object, ...]:
    return run(JanusAsk, model=loaded, max_new_tokens=4, **inputs)


def test_the_model_decides_unless_a_task_is_set(loaded: LoadedJanus, core: JanusPipeline) -> None:
    request = widgets(JanusAsk)["request"]
    decided = route(core, request).task
    text, image, task = ask(loaded)
    assert task == decided
    expected = reply(core, request, None, decided, SHORT)
    assert isinstance(text, ExecutionBlocker) == (expected.text is None)
    assert isinstance(image, ExecutionBlocker) == (expected.images is None)
    for other in ("understand", "generate"):
        assert ask(loaded, task=other)[2] == other


def test_every_widget_of_the_picture_has_an_effect(loaded: LoadedJanus, core: JanusPipeline) -> None:
    request = {"task": "generate", "request": "A cat.", "guidance_scale": 1.0}
    usual = ask(loaded, **request)[1]
    assert torch.equal(usual, core.generate("A cat.", TokenSampling(guidance_scale=1.0)).images)
    for widget in ({"seed": 5}, {"guidance_scale": 5.0}, {"temperature": 0.0}):
        assert not torch.equal(ask(loaded, **{**request, **widget})[1], usual), widget


def test_longer_answers_are_longer(loaded: LoadedJanus) -> None:
    short, long = (
        run(JanusAsk, model=loaded, task="understand", request="Hello?", max_new_tokens=count)[0]
        for count in (2, 6)
    )
    assert long.startswith(short) and len(long) > len(short)


def test_a_picture_is_described_and_drawn(loaded: LoadedJanus, core: JanusPipeline) -> None:
    picture = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    text, image, task = ask(loaded, image=picture, task="describe and generate")
    expected = reply(core, "?", picture, "describe and generate", SHORT)
    assert (text, task) == (expected.text, "describe and generate")
    assert torch.equal(image, expected.images)


def test_answers_and_pictures_of_a_list_of_requests_can_be_shown_together(loaded: LoadedJanus) -> None:
    shown = [
        run_and_show(JanusAsk, model=loaded, max_new_tokens=4, task=task)[1]
        for task in ("understand", "generate")
    ]
    assert shown[0].keys() == shown[1].keys() == {"text", "images", "own"}
    assert [len(each["images"]) for each in shown] == [0, 1]


def test_a_text_that_was_cut_off_is_shown_and_logged_as_such(
    loaded: LoadedJanus, caplog: pytest.LogCaptureFixture
) -> None:
    (text, *_), shown = run_and_show(
        JanusAsk, model=loaded, task="understand", request="Hello?", max_new_tokens=4
    )
    note = "[stopped at max_new_tokens = 4, or at the end of the model's context]"
    assert shown["text"] == (f"understand\n\n{text}\n\n{note}",)
    assert type(text) is str and "stopped" not in text
    assert [message for message in caplog.messages if message.startswith("1 of 1 answers stopped at max")]


def test_an_edit_without_a_model_for_it_is_refused(loaded: LoadedJanus) -> None:
    with pytest.raises(ValueError, match=r"model must be trained to edit by instruction"):
        ask(loaded, image=torch.rand(1, 16, 16, 3), task="edit")


def test_a_flow_model_that_is_to_draw_is_refused_with_the_node_for_it(golden_root: Path) -> None:
    flow = memory.load(golden_root / "janusflow-tiny", "fp32", None)
    for task in ("generate", "edit", "describe and generate"):
        with pytest.raises(ValueError, match="by flow; choose a Janus or Janus-Pro folder in Load Janus-Pro"):
            run(JanusAsk, model=flow, request="A cat.", task=task, image=torch.rand(1, 8, 8, 3))
    assert run(JanusAsk, model=flow, request="Hello!", task="understand", max_new_tokens=2)[2] == "understand"
