"""Score, Choose and Best of N as nodes: the core's numbers, widgets with an effect, one bar, cancelling."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import comfy.utils
import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.nodes.best_of import JanusBestOf
from janus_nodes.nodes.encode import JanusSiglipEncode
from janus_nodes.nodes.generate import JanusGenerate
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.score import JanusChoose, JanusScore
from support.node_runs import run, run_and_show, widgets
from torch import Tensor

SCORE = {"description": "A blue ball.", "template": "Is there {description}?"}
CHOOSE = {"question": "Who is it?", "options": "a\nthe photo", "per_token": True}
BEST_OF = {
    "prompt": "A red ball.",
    "negative_prompt": "A blue ball.",
    "seed": 2**64 - 1,
    "batch_size": 2,
    "guidance_scale": 1.0,
    "temperature": 0.0,
    "top_k": 1,
    "top_p": 0.01,
    "keep": 0,
    "template": "Is there {description}?",
}
OPTIONS = "the photo\n\n a cat \na"


@pytest.fixture
def picture() -> Tensor:
    """Three different images."""
    return torch.rand(3, 24, 40, 3, generator=torch.Generator().manual_seed(0))


def test_every_widget_is_tried() -> None:
    for node, tried in ((JanusScore, SCORE), (JanusChoose, CHOOSE), (JanusBestOf, BEST_OF)):
        assert widgets(node).keys() == tried.keys()


def test_scores_are_the_core_s_for_images_and_features(
    loaded: LoadedJanus, core: JanusPipeline, picture: Tensor
) -> None:
    expected = core.score(picture, "a cat").tolist()
    assert len(set(expected)) == 3
    (scores,) = run(JanusScore, model=loaded, image=picture, description="a cat")
    assert scores == pytest.approx(expected, abs=1e-6)
    (features,) = run(JanusSiglipEncode, model=loaded, image=picture)
    assert run(JanusScore, model=loaded, features=features, description="a cat") == (scores,)


@pytest.mark.parametrize("widget", SCORE)
def test_widget_of_score_changes_the_scores(loaded: LoadedJanus, picture: Tensor, widget: str) -> None:
    base = {"model": loaded, "image": picture}
    assert run(JanusScore, **base | {widget: SCORE[widget]}) != run(JanusScore, **base)


def test_choices_are_the_core_s_and_empty_lines_do_not_count(
    loaded: LoadedJanus, core: JanusPipeline, picture: Tensor
) -> None:
    options = ["the photo", "a cat", "a"]
    for per_token in (False, True):
        expected = core.choose(picture, "What?", options, per_token=per_token)
        base = {"model": loaded, "question": "What?", "options": OPTIONS, "per_token": per_token}
        choices, shares = run(JanusChoose, **base, image=picture)
        assert choices == [options[index] for index in expected.argmax(dim=1)]
        assert shares == pytest.approx(expected.flatten().tolist(), abs=1e-6)
        alone, _ = run(JanusChoose, **base)
        assert alone == [options[core.choose(None, "What?", options, per_token=per_token)[0].argmax()]]


@pytest.mark.parametrize("widget", CHOOSE)
def test_widget_of_choose_changes_the_probabilities(
    loaded: LoadedJanus, picture: Tensor, widget: str
) -> None:
    base = {"model": loaded, "image": picture}
    assert run(JanusChoose, **base | {widget: CHOOSE[widget]})[1] != run(JanusChoose, **base)[1]


def test_image_and_features_together_are_refused(loaded: LoadedJanus, picture: Tensor) -> None:
    (features,) = run(JanusSiglipEncode, model=loaded, image=picture)
    for node in (JanusScore, JanusChoose):
        with pytest.raises(ValueError, match="only one of image and features must be connected, got both"):
            run(node, model=loaded, image=picture, features=features)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "images must hold at least one image to score, got None"),
        ({"description": " "}, "description must hold text, got ' '"),
        ({"template": "Good?"}, r"template must hold \{description\}, got 'Good\?'"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    loaded: LoadedJanus, picture: Tensor, inputs: dict[str, str], message: str
) -> None:
    image = {"image": picture} if inputs else {}
    with pytest.raises(ValueError, match=f"^{message}"):
        run(JanusScore, model=loaded, **image, **inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [("", "at least 2, got 0"), ("a", "at least 2, got 1"), ("a\nb\na ", "differ, got 'a' more than once")],
)
def test_too_few_and_double_options_are_refused(loaded: LoadedJanus, options: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^options must (be )?{message}"):
        run(JanusChoose, model=loaded, options=options)


def test_best_of_n_is_generate_and_score_in_order(loaded: LoadedJanus) -> None:
    options = {"prompt": "A lake.", "seed": 4, "batch_size": 5}
    drawn, drawn_tokens = run(JanusGenerate, model=loaded, **options)
    (scores,) = run(JanusScore, model=loaded, image=drawn, description="A lake.")
    order = sorted(range(5), key=lambda index: -scores[index])
    images, best, tokens = run(JanusBestOf, model=loaded, keep=3, **options)
    assert best == [scores[index] for index in order[:3]]
    assert torch.equal(images, drawn[order[:3]])
    assert torch.equal(tokens, drawn_tokens[order[:3]])


@pytest.mark.parametrize("widget", BEST_OF)
def test_widget_of_best_of_n_changes_what_it_gives(loaded: LoadedJanus, widget: str) -> None:
    # The best of fewer may be the best of more.
    base = {"model": loaded, "batch_size": 3, "seed": 50, "keep": 0 if widget == "batch_size" else 1}
    _, scores, tokens = run(JanusBestOf, **base)
    _, other_scores, other = run(JanusBestOf, **base | {widget: BEST_OF[widget]})
    assert other_scores != scores
    if widget != "template":  # another question may have the same favourite
        assert other.shape != tokens.shape or not torch.equal(other, tokens)


def test_best_of_n_has_one_bar_and_shows_the_best_with_its_score(
    loaded: LoadedJanus, shown: list[tuple[int, int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded.pipeline, "max_batch_size", 2)
    (images, scores, _), result = run_and_show(JanusBestOf, model=loaded, batch_size=3)
    counts = [value for value, _, _ in shown]
    assert counts == [*range(1, 33), 34, 35, 35]  # two times 16 tokens, three images to judge
    assert {total for _, total, _ in shown} == {35}
    assert any(preview is not None for _, _, preview in shown[:32])
    assert result["text"] == (f"{scores[0]:.4f}",)
    assert len(result["images"]) == len(images) == 1


@pytest.mark.parametrize(
    ("node", "last"), [(JanusScore, 1), (JanusChoose, 1), (JanusBestOf, 5), (JanusBestOf, 34)]
)
def test_interrupt_stops_each_of_them(
    loaded: LoadedJanus,
    picture: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    no_interrupt: None,
    shown: list[Any],
    node: Any,
    last: int,
) -> None:
    monkeypatch.setattr(loaded.pipeline, "max_batch_size", 1 if last == 1 else 2)
    seen: list[int] = []

    def interrupt(value: int, *_: object, **__: object) -> None:
        seen.append(value)
        if value == last:
            mm.interrupt_current_processing()

    comfy.utils.set_progress_bar_global_hook(interrupt)
    image = {} if node is JanusBestOf else {"image": picture}
    batch = {"batch_size": 3} if node is JanusBestOf else {}
    with pytest.raises(mm.InterruptProcessingException):
        run(node, model=loaded, **image, **batch)
    assert seen[-1] == last
