"""The measures themselves."""

from __future__ import annotations

import random

import numpy as np
import pytest
from janus_nodes.janus_core import JanusPipeline, TokenSampling
from janus_nodes.janus_core.training.shapes import evaluation
from janus_nodes.janus_core.training.shapes.draw import draw_scene
from janus_nodes.janus_core.training.shapes.evaluation import (
    Estimate,
    Share,
    evaluate_answers,
    evaluate_drawing,
    evaluate_presence,
    resampled,
)
from janus_nodes.janus_core.training.shapes.prompt_specs import CATEGORIES, PromptSpec, random_wish
from janus_nodes.janus_core.training.shapes.report import evaluate


def test_intervals_are_wilsons() -> None:
    # The values of statsmodels' proportion_confint(…, method="wilson").
    assert Share(90, 100).interval == pytest.approx((0.825636, 0.944772), abs=1e-4)
    assert Share(0, 50).interval == pytest.approx((0.0, 0.071348), abs=1e-4)


def test_other_figures_have_bootstrap_intervals() -> None:
    values = np.random.default_rng(1).normal(30.0, 2.0, 400)
    found = resampled(np.mean, values)
    assert found.value == pytest.approx(values.mean())
    error = values.std() / 20  # of a mean of 400
    assert found.interval == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.03)


def test_right_answers_and_drawings_score_one(pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt_specs: list[PromptSpec] = []

    def remembered(category: str, rng: random.Random, held_out: bool = False) -> PromptSpec:
        prompt_specs.append(random_wish(category, rng, held_out))
        return prompt_specs[-1]

    def true_picture(*_: object) -> list[np.ndarray]:
        return [draw_scene(prompt_specs[-1].scene(random.Random(1)))]

    monkeypatch.setattr(
        evaluation, "_answers", lambda p, pictures, questions, sees: [q.answer for q in questions]
    )
    monkeypatch.setattr(evaluation, "random_wish", remembered)
    monkeypatch.setattr(evaluation, "drawn", true_picture)
    assert evaluate_answers(pipe, ("colour", "count"), 10) == dict.fromkeys(
        ("colour", "count"), Share(10, 10)
    )
    assert evaluate_presence(pipe, 40)["f1"] == Estimate(1.0, (1.0, 1.0))
    assert evaluate_drawing(pipe, 8, TokenSampling()) == dict.fromkeys(CATEGORIES, Share(8, 8))
    assert len(evaluate_drawing(pipe, 8, TokenSampling(), held_out=True)) == 3


def test_always_yes_has_full_recall_and_no_more(pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        evaluation, "_answers", lambda p, pictures, questions, sees: ["yes. "] * len(questions)
    )
    found = evaluate_presence(pipe, 40)
    assert found["recall"].value == found["yes_share"].value == 1.0
    assert found["precision"] == found["accuracy"] and found["accuracy"].value < 0.8
    low, high = found["f1"].interval
    share = found["precision"].value
    assert found["f1"].value == pytest.approx(2 * share / (1 + share))
    assert low < found["f1"].value < high


def test_a_model_of_another_size_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match=r"checkpoint must draw 96 x 96 pixels .* got 64 x 64"):
        evaluate(pipe, 2, TokenSampling(), "encoder", lambda part: None)
