"""The best of N: drawing and judging apart give the same, in one count of steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import (
    FlowSampling,
    JanusPipeline,
    RankedImages,
    TokenSampling,
    best_of,
    load_pipeline,
)
from support.checkpoints import copy_checkpoint
from support.parametrize import slow_except
from torch import Tensor

PROMPT = "A cat"
FIVE = TokenSampling(batch_size=5, seed=3)


@pytest.fixture(scope="module")
def every(pipe: JanusPipeline) -> RankedImages:
    """All five images of the prompt, the best first."""
    return best_of(pipe, PROMPT, FIVE, keep=0)


def test_all_are_what_generate_and_score_give_in_order(pipe: JanusPipeline) -> None:
    drawn = pipe.generate(PROMPT, FIVE, negative_prompt="A dog")
    scores = pipe.score(drawn.images, PROMPT)
    order = sorted(range(5), key=lambda row: -float(scores[row]))
    best = best_of(pipe, PROMPT, FIVE, keep=0, negative_prompt="A dog")
    assert torch.equal(best.scores, scores[order])
    assert torch.equal(best.drawn.images, drawn.images[order])
    assert torch.equal(best.drawn.tokens, drawn.tokens[order])
    assert len(set(scores.tolist())) == 5


@pytest.mark.parametrize("keep", slow_except([1, 3, 5], 3))
def test_as_many_are_kept_as_are_asked_for(pipe: JanusPipeline, every: RankedImages, keep: int) -> None:
    best = best_of(pipe, PROMPT, FIVE, keep=keep)
    assert torch.equal(best.scores, every.scores[:keep])
    assert torch.equal(best.drawn.images, every.drawn.images[:keep])
    assert torch.equal(best.drawn.tokens, every.drawn.tokens[:keep])


def test_of_equals_the_one_drawn_first_comes_first(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = torch.tensor([0.2, 0.9, 0.2, 0.9, 0.9])
    monkeypatch.setattr(type(pipe), "score", lambda *_, **__: scores)
    drawn = pipe.generate(PROMPT, FIVE)
    best = best_of(pipe, PROMPT, FIVE, keep=4)
    assert torch.equal(best.drawn.tokens, drawn.tokens[[1, 3, 4, 0]])


@pytest.mark.parametrize("rows_at_once", slow_except([2, 8], 2))
def test_the_ranking_does_not_depend_on_the_split(
    pipe: JanusPipeline, every: RankedImages, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    split = best_of(pipe, PROMPT, FIVE, keep=0)
    assert torch.equal(split.drawn.tokens, every.drawn.tokens)
    torch.testing.assert_close(split.scores, every.scores, rtol=0, atol=1e-5)


def test_the_template_is_asked(pipe: JanusPipeline, every: RankedImages) -> None:
    template = "Is {description} in it?"
    best = best_of(pipe, PROMPT, FIVE, keep=0, template=template)
    torch.testing.assert_close(best.scores, pipe.score(best.drawn.images, PROMPT, template=template))
    assert not torch.equal(best.scores, every.scores)


def test_steps_of_drawing_and_judging_count_as_one_run(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "max_batch_size", 2)
    steps: list[tuple[int, int]] = []
    pixels: list[tuple[int, int]] = []
    best_of(
        pipe,
        PROMPT,
        FIVE,
        on_step=lambda step, total, tokens: steps.append((step, total)),
        on_image=lambda done, total: pixels.append((done, total)),
    )
    drawing = 3 * 16  # three times two images, of 16 tokens each
    assert steps == [(step, drawing + 5) for step in [*range(1, drawing + 1), 50, 52, 53]]
    assert pixels == [(done, 5) for done in range(1, 6)]


def test_an_error_in_on_step_stops_drawing_and_judging(pipe: JanusPipeline) -> None:
    class Cancelled(BaseException):
        pass

    for last in (3, 21):  # the third token, or the first report of what is judged
        seen: list[int] = []

        def cancel(step: int, total: int, tokens: Tensor) -> None:
            seen.append(step)  # noqa: B023
            if step == last:  # noqa: B023
                raise Cancelled

        with pytest.raises(Cancelled):
            best_of(pipe, PROMPT, FIVE, on_step=cancel)
        assert seen[-1] == last


def test_images_drawn_by_a_flow_are_ranked_with_their_latents(flow_pipe: JanusPipeline) -> None:
    options = FlowSampling(batch_size=3, num_steps=2)
    drawn = flow_pipe.generate(PROMPT, options)
    order = flow_pipe.score(drawn.images, PROMPT).argsort(descending=True)
    best = best_of(flow_pipe, PROMPT, options, keep=2)
    assert torch.equal(best.drawn.latents, drawn.latents[order[:2]])
    assert torch.equal(best.drawn.images, drawn.images[order[:2]])


def test_latents_without_pixels_are_refused(tmp_path: Path) -> None:
    pipe = load_pipeline(copy_checkpoint("janusflow-tiny", tmp_path / "bare"))
    with pytest.raises(ValueError, match=r"^model must turn latents into pixels to judge them, got 'bare'"):
        best_of(pipe, PROMPT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"keep": 6},
            r"keep must be from 0 \(all\) to 5 images, got 6; draw more or keep",
        ),
        ({"keep": -1}, r"keep must be from 0 \(all\) to 5 images, got -1;"),
        ({"template": "Good?"}, r"template must hold \{description\}, got"),
        ({"options": FlowSampling()}, "model must generate images with FlowSampling"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(
    pipe: JanusPipeline, wrong: dict[str, object], message: str
) -> None:
    def drawn(*_: object) -> None:
        raise AssertionError("it draws")

    with pytest.raises(ValueError, match=f"^{message}"):
        best_of(pipe, PROMPT, **{"options": FIVE, "on_step": drawn, **wrong})  # type: ignore[arg-type]
