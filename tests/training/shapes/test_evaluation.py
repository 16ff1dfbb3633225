"""Measures, their confidence intervals, and what perfect and useless models score."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from janus_nodes.janus_core import EditSampling, JanusPipeline, TokenSampling
from janus_nodes.janus_core.training.pictures import to_images, to_pictures
from janus_nodes.janus_core.training.shapes.drawing import draw_scene
from janus_nodes.janus_core.training.shapes.edits import EDIT_KINDS, Edit, random_edit
from janus_nodes.janus_core.training.shapes.evaluation import (
    EvaluatedModel,
    Measure,
    bootstrap,
    evaluate_answers,
    evaluate_drawing,
    evaluate_edits,
    evaluate_presence,
    generate_for_category,
    share,
)
from janus_nodes.janus_core.training.shapes.prompt_specs import (
    CATEGORIES,
    PromptSpec,
    paraphrase,
    random_prompt_spec,
)
from janus_nodes.janus_core.training.shapes.questions import Question
from janus_nodes.janus_core.training.shapes.report import evaluate, to_table


@dataclass(frozen=True)
class FakeModel(EvaluatedModel):
    """Generates correct pictures, and answers with `reply`."""

    reply: Callable[[Question], str] = lambda question: question.answer

    def generate(self, specs: Sequence[PromptSpec], prompts: Sequence[str], first: int) -> list[np.ndarray]:
        return [draw_scene(spec.scene(random.Random(1))) for spec in specs]

    def edit(self, edit: Edit, index: int) -> np.ndarray:
        return draw_scene(edit.target if index % 4 else edit.source)

    def answer(self, pictures: Sequence[np.ndarray], questions: Sequence[Question]) -> list[str]:
        return [self.reply(question) for question in questions]


def test_intervals_are_wilsons() -> None:
    # The values of statsmodels' proportion_confint(…, method="wilson").
    for measure, expected in (
        (share(90, 100), (0.825636, 0.944772)),
        (share(0, 50), (0.0, 0.071348)),
    ):
        assert (measure.low, measure.high) == pytest.approx(expected, abs=1e-4)
    assert math.isnan(share(0, 0).value)


@pytest.mark.parametrize("total", [1, 7, 100, 200, 400, 1200, 2048])
def test_intervals_in_reports_are_those_of_1_96_standard_deviations(total: int) -> None:
    # The formula by which the published figures were computed.
    z = 1.96
    for hits in range(0, total + 1, max(1, total // 100)):
        value = hits / total
        spread = z * math.sqrt(value * (1 - value) / total + z * z / (4 * total**2))
        low, high = ((value + z * z / (2 * total) + sign * spread) / (1 + z * z / total) for sign in (-1, 1))
        measure = share(hits, total)
        assert (measure.value, measure.hits, measure.total) == (value, hits, total)
        assert round(measure.low, 4) == round(max(0.0, low), 4)
        assert round(measure.high, 4) == round(min(1.0, high), 4)


def test_a_missing_scipy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ImportError, match=r"evaluation needs the package scipy, got: .*pip install scipy"):
        share(1, 2)


def test_other_figures_have_bootstrap_intervals() -> None:
    values = np.random.default_rng(1).normal(30.0, 2.0, 400)
    found = bootstrap(np.mean, values)
    assert found.value == pytest.approx(values.mean())
    error = values.std() / 20  # of a mean of 400
    expected = (found.value - 1.96 * error, found.value + 1.96 * error)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.03)


def test_right_answers_and_drawings_score_one(pipe: JanusPipeline) -> None:
    model = FakeModel(pipe, TokenSampling())
    assert evaluate_answers(model, ("colour", "count"), 10) == dict.fromkeys(
        ("colour", "count"), share(10, 10)
    )
    assert evaluate_presence(model, 40)["f1"] == Measure(1.0, 1.0, 1.0)
    assert evaluate_drawing(model, 8) == dict.fromkeys(CATEGORIES, share(8, 8))
    assert len(evaluate_drawing(model, 8, held_out=True)) == 3


def test_edits_are_judged_by_what_they_should_and_should_not_change(pipe: JanusPipeline) -> None:
    for held_out in (False, True):
        followed, kept = evaluate_edits(FakeModel(pipe, TokenSampling()), 8, held_out)
        assert followed == dict.fromkeys(EDIT_KINDS, share(6, 8))
        assert kept == dict.fromkeys(EDIT_KINDS, share(8, 8))


def test_a_real_edit_is_the_pipelines(pipe: JanusPipeline) -> None:
    editor, options = replace(pipe, edit_form="janus-4o"), pipe.image_options(TokenSampling(seed=3))
    edit = random_edit(random.Random(0))
    picture = EvaluatedModel(editor, options).edit(edit, 2)
    (source,) = to_images([draw_scene(edit.source)])
    same = editor.edit(source, edit.instruction, editor.image_options(EditSampling(seed=5)))
    assert np.array_equal(picture, to_pictures(same.images)[0])


def test_pictures_generated_together_are_what_each_is_alone(pipe: JanusPipeline) -> None:
    model = EvaluatedModel(pipe, pipe.image_options(TokenSampling(seed=3)))
    specs, pictures = generate_for_category(model, "counting", 10)
    rng = random.Random("drawing counting False 9")
    prompt = paraphrase(random_prompt_spec("counting", rng).phrase, rng)
    (alone,) = model.generate(specs[9:], [prompt], 9)
    assert len(specs) == 10 and np.array_equal(pictures[9], alone)


def test_the_table_has_edits_only_of_models_that_edit() -> None:
    shares = {"overall": {"value": 0.5, "low": 0.25, "high": 0.75}}
    parts = ("drawings", "answers", "drawings_held_out", "answers_held_out", "presence", "autoencoder")
    report = dict.fromkeys(parts, shares)
    assert "Edit followed" not in to_table(report)
    report |= dict.fromkeys(("edits_followed", "edits_followed_held_out"), shares)
    assert "| Edit followed: overall | 0.500 (0.250 to 0.750) | 0.500 (0.250 to 0.750) |" in to_table(report)


def test_always_yes_has_full_recall_and_no_more(pipe: JanusPipeline) -> None:
    found = evaluate_presence(FakeModel(pipe, TokenSampling(), reply=lambda question: "yes. "), 40)
    assert found["recall"].value == found["yes_share"].value == 1.0
    assert found["precision"] == found["accuracy"] and found["accuracy"].value < 0.8
    precision = found["precision"].value
    assert found["f1"].value == pytest.approx(2 * precision / (1 + precision))
    assert found["f1"].low < found["f1"].value < found["f1"].high


def test_a_model_of_another_size_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match=r"checkpoint must generate 96 x 96 pixels .* got 64 x 64"):
        evaluate(EvaluatedModel(pipe, TokenSampling()), 2, lambda part: None)
