"""Janus Think and Draw: the core's thoughts and images, an effect of each widget, and thoughts fed back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from janus_nodes.nodes import memory
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.think import JanusThinkAndDraw
from support.checkpoints import copy_checkpoint
from support.node_runs import run, run_and_show

pytestmark = pytest.mark.usefixtures("sent")  # thoughts go onto running nodes

SHORT: dict[str, Any] = {"prompt": "A red ball.", "max_new_tokens": 6, "guidance_scale": 1.0, "rounds": 0}
SAMPLED = SHORT | {"form": "t2i-r1", "thought_temperature": 1.0, "seed": 3}


def think(loaded: LoadedJanus, **inputs: Any) -> tuple[Any, ...]:
    """Image, thought, first image, verdict and tokens."""
    return run(JanusThinkAndDraw, model=loaded, **SHORT | inputs)


def test_results_are_those_of_the_core(loaded: LoadedJanus, core: JanusPipeline) -> None:
    options = TokenSampling(batch_size=2, seed=3, guidance_scale=1.0, temperature=0.5)
    expected = core.think_and_draw(
        "A red ball.", "describe", options, TextSampling(6, 0.8, 50, seed=7), 1, question="Draw {}?"
    )
    image, thought, first_image, verdict, tokens = think(
        loaded,
        form="describe",
        batch_size=2,
        seed=3,
        temperature=0.5,
        rounds=1,
        question="Draw {}?",
        thought_temperature=0.8,
        thought_top_k=50,
        thought_seed=7,
    )
    assert torch.equal(image, expected.images) and torch.equal(tokens, expected.tokens)
    assert torch.equal(first_image, expected.first_images)
    assert thought == list(map(str, expected.thoughts))
    assert verdict == [row[kept] for row, kept in zip(expected.verdicts, expected.kept, strict=True)]


@pytest.mark.parametrize("form", ["t2i-r1", "got-r1", "reasongen-r1", "describe"])
def test_thought_that_is_fed_back_draws_the_same_images(
    loaded: LoadedJanus, janus_folder: Path, form: str
) -> None:
    inputs = SAMPLED | {"form": form, "thought_temperature": 2.0}
    image, (thought,), _, _, tokens = think(loaded, **inputs)
    again = think(loaded, **inputs, thought=thought)
    assert torch.equal(again[4], tokens) and torch.equal(again[0], image)
    assert again[1] == [thought]
    # Another checkpoint, and a thought that was edited, take its text.
    other = memory.load(copy_checkpoint("janus-pro-tiny", janus_folder / "other"), "fp32", None)
    text = str(thought)
    assert torch.equal(think(other, **inputs, thought=thought)[4], think(loaded, **inputs, thought=text)[4])
    assert think(loaded, **inputs, thought="Quite another thought.")[1] == ["Quite another thought."]


@pytest.mark.parametrize(
    "widget",
    [
        *({"seed": 5}, {"guidance_scale": 5.0}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.01}),
        *({"question": "What is {}?"}, {"max_new_tokens": 1}, {"thought_temperature": 0.0}),
        *({"thought_top_k": 1}, {"thought_seed": 9}, {"form": "got-r1"}, {"prompt": "A lake."}),
    ],
    ids=str,
)
def test_every_widget_has_an_effect(loaded: LoadedJanus, widget: dict[str, Any]) -> None:
    varied = SAMPLED | {"temperature": 3.0, "thought_temperature": 3.0}
    usual, changed = think(loaded, **varied), think(loaded, **varied | widget)
    assert usual[1] != changed[1] or not torch.equal(usual[4], changed[4])


def test_the_forms_own_options_hold_unless_they_are_set(loaded: LoadedJanus, core: JanusPipeline) -> None:
    own = {"max_new_tokens": 0, "thought_temperature": -1.0, "thought_top_k": -1, "thought_seed": -1}
    for form in ("t2i-r1", "describe"):
        expected = core.think_and_draw("A red ball.", form, TokenSampling(1.0, seed=4), rounds=0)
        assert think(loaded, form=form, seed=4, **own)[1] == list(map(str, expected.thoughts))


def test_a_review_gives_verdicts_and_keeps_the_better_image(loaded: LoadedJanus, core: JanusPipeline) -> None:
    inputs = {"form": "janus-pro-r1", "batch_size": 2, "seed": 1, "rounds": 2, "temperature": 2.0}
    options = TokenSampling(1.0, 2.0, seed=1, batch_size=2)
    expected = core.think_and_draw(
        "A red ball.", "janus-pro-r1", options, TextSampling(6, 1.0, seed=1), rounds=2
    )
    (image, thought, first_image, verdict, _), shown = run_and_show(
        JanusThinkAndDraw, model=loaded, **SHORT | inputs
    )
    assert torch.equal(image, expected.images) and torch.equal(first_image, expected.first_images)
    assert [text.split("\n\n")[0] for text in thought] == [each[0] for each in expected.reflections]
    assert all(0 <= value <= 1 for value in verdict)
    assert shown["text"][0].count("[P(Yes) ") == 2
    plain = think(loaded, **inputs | {"rounds": 0})
    assert torch.equal(plain[0], first_image)
    assert all(isinstance(blocked, ExecutionBlocker) for blocked in (*plain[1], *plain[3]))


def test_texts_images_and_a_cut_thought_are_shown(loaded: LoadedJanus) -> None:
    outputs, shown = run_and_show(JanusThinkAndDraw, model=loaded, **SHORT | {"batch_size": 2})
    assert shown.keys() == {"text", "note", "images", "own"}
    assert shown["text"] == ("\n\n".join(thought.strip() for thought in outputs[1]),)
    assert "The thought of image 2 was cut off" in shown["note"][0]
    assert len(shown["images"]) == 2


def test_the_checkpoints_own_question_is_used(janus_folder: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", janus_folder / "T2I-R1")
    own = memory.load(folder, "fp32", None)
    asked = think(own, form="t2i-r1", question="Think of {} first.", max_new_tokens=20)[1]
    assert think(own, max_new_tokens=20)[1] != asked
    (folder / "reasoning_prompt.txt").write_text("Think of {} first.\n", encoding="utf-8")
    assert think(own, max_new_tokens=20)[1] == asked  # auto: t2i-r1, by the folder's name
    (folder / "reasoning_prompt.txt").write_text("Think first.", encoding="utf-8")
    with pytest.raises(ValueError, match=r"reasoning_prompt\.txt must hold \{\} once, got it 0 times"):
        think(own)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": " "}, "^prompt must "),
        ({"prompt": "A <|User|> ball."}, "^prompt must hold no special tokens, got "),
        ({"form": "t3i"}, "^form must be one of auto, "),
        ({"rounds": 2, "form": "t2i-r1"}, "^rounds must be 0 or 1 for form 't2i-r1'"),
        ({"rounds": -1}, "^rounds must be at least 0, got -1"),
        ({"question": "Why?"}, r"^question must hold \{\} once, got it 0 times"),
        ({"question": "{} {}"}, r"^question must hold \{\} once, got it 2 times"),
        ({"question": "What is {}?", "form": "got-r1"}, "^question must be left out for form 'got-r1'"),
        ({"thought": "A ball.", "form": "janus-pro-r1"}, "^thoughts must be left out for form 'janus-pro"),
        ({"thought": ["A ball."]}, "^thought must be "),
        ({"thought": "a ball " * 20000}, "^thoughts must "),
    ],
    ids=str,
)
def test_wrong_input_is_refused_in_one_sentence(
    loaded: LoadedJanus, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        think(loaded, **wrong)
    assert len(str(raised.value).splitlines()) == 1


def test_a_flow_model_is_refused_with_the_node_for_it(golden_root: Path) -> None:
    flow = memory.load(golden_root / "janusflow-tiny", "fp32", None)
    with pytest.raises(ValueError, match="by flow; choose a Janus or Janus-Pro folder in Load Janus-Pro"):
        think(flow)


def test_progress_counts_the_thought_and_the_image(
    loaded: LoadedJanus, shown: list[tuple[int, int, Any]], sent: list[tuple[str, str]]
) -> None:
    thoughts = think(loaded, form="t2i-r1", max_new_tokens=20)[1]
    values = [value for value, total, _ in shown if total == 1000]
    assert values == sorted(values) and values[-1] == 1000
    assert len({*values}) > 20  # tokens of the thought, then of the image
    assert any(preview for _, _, preview in shown)
    assert sent[-1] == ("1", thoughts[0].strip())
