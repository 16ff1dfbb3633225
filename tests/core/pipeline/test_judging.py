"""Scores and choices: numbers by hand from the reference's logits, any split, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEFAULT_SYSTEM_PROMPT, JanusPipeline
from janus_nodes.janus_core.models.cache import NoCache
from janus_nodes.janus_core.pipeline import text_tasks
from janus_nodes.janus_core.processing.judging import score_question
from support.drawing import counted_images
from support.parametrize import slow_except
from torch import Tensor

Picture = Callable[[str], Tensor]
QUESTION = "Describe the image in detail."
# The recorded question, with a word of it as the description.
TEMPLATE, DESCRIPTION = "Describe the {description} in detail.", "image"
WORDS = ["I", "a", "the", "code", "photo"]  # one token each, a space before it
OPTIONS = ["red", "a blue circle", "close", "the photo of a cat"]


def ids_of(pipe: JanusPipeline, words: list[str]) -> list[int]:
    rows = [pipe.prompts.tokenizer.encode(f" {word}") for word in words]
    assert {len(row) for row in rows} == {2}
    return [row[1] for row in rows]


def logits_behind(pipe: JanusPipeline, image: Tensor, question: str, answer: str) -> tuple[Tensor, int]:
    """Logits [T, V] of a whole conversation read at once, and where in it the answer begins."""
    tokenizer, chat = pipe.prompts.tokenizer, pipe.prompts.chat
    asked = chat.question(f"{tokenizer.special.image}\n{question}", DEFAULT_SYSTEM_PROMPT)
    ids = torch.tensor([pipe.prompts.encode(asked + answer, 1)])
    embeds = pipe.model.body.embed_tokens(ids)
    seen = pipe.encode_vision(image[None]).image_embeds
    embeds = embeds.masked_scatter((ids == tokenizer.image_id)[..., None], seen)
    states = pipe.model.body(embeds, torch.arange(ids.shape[1])[None], NoCache())
    return pipe.model.body.lm_head(states)[0], len(pipe.prompts.encode(asked, 1))


def test_choice_among_words_is_the_softmax_of_the_recorded_logits(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    logits = recorded.tensor("understand/one_image.logits_last")[:, ids_of(pipe, WORDS)]
    found = pipe.choose(picture("landscape_rgb")[None], QUESTION, WORDS)
    torch.testing.assert_close(found, logits.softmax(dim=1), rtol=0, atol=1e-4)
    text = recorded.messages("text_only")[0].text
    logits = recorded.tensor("understand/text_only.logits_last")[:, ids_of(pipe, WORDS)]
    torch.testing.assert_close(pipe.choose(None, text, WORDS), logits.softmax(dim=1), rtol=0, atol=1e-4)


def test_score_is_the_softmax_of_the_two_recorded_logits(
    recorded: Any, pipe: JanusPipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_tasks, "VERDICTS", ("the", "code"))
    logits = recorded.tensor("understand/one_image.logits_last")[:, ids_of(pipe, ["the", "code"])]
    found = pipe.score(picture("landscape_rgb")[None], DESCRIPTION, template=TEMPLATE)
    torch.testing.assert_close(found, logits.softmax(dim=1)[:, 0], rtol=0, atol=1e-4)


@torch.no_grad()
def test_score_compares_yes_and_no_where_the_answer_begins(
    shapes_pipe: JanusPipeline, images: Tensor
) -> None:
    # The demonstration's tokenizer has " Yes" and " No" as one token each.
    question = "Does this image match the description? Answer Yes or No.\nDescription: a red star"
    yes, no = ids_of(shapes_pipe, ["Yes", "No"])
    expected = []
    for image in images:
        logits, start = logits_behind(shapes_pipe, image, question, "")
        assert start == len(logits)
        expected.append(logits[-1, [yes, no]].softmax(dim=0)[0])
    found = shapes_pipe.score(images, "a red star")
    assert (found.shape, found.dtype) == ((5,), torch.float32)
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)


@torch.no_grad()
def test_score_uses_the_first_token_that_differs_between_yes_and_no(
    pipe: JanusPipeline, picture: Picture
) -> None:
    encode = pipe.prompts.tokenizer.encode
    (_, space, yes, *_), (_, same, no, *_) = encode(" Yes"), encode(" No")
    assert space == same
    image = picture("landscape_rgb")
    logits, start = logits_behind(pipe, image, QUESTION, " Yes")
    expected = logits[start, [yes, no]].softmax(dim=0)[0]
    found = pipe.score(image[None], DESCRIPTION, template=TEMPLATE)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("per_token", [False, True])
def test_options_of_any_length_count_by_all_of_their_tokens(
    pipe: JanusPipeline, picture: Picture, per_token: bool
) -> None:
    image = picture("landscape_rgb")
    told = []
    for option in OPTIONS:
        answer = pipe.prompts.tokenizer.encode(f" {option}")[1:]
        logits, start = logits_behind(pipe, image, QUESTION, f" {option}")
        steps = logits[start - 1 : -1].log_softmax(dim=-1)
        assert len(steps) == len(answer)
        total = sum(steps[step, token] for step, token in enumerate(answer))
        told.append(total / len(answer) if per_token else total)
    found = pipe.choose(image[None], QUESTION, OPTIONS, per_token=per_token)
    torch.testing.assert_close(found, torch.stack(told).softmax(dim=0)[None], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows_at_once", slow_except([1, 2, 8], 2))
def test_scores_and_choices_do_not_depend_on_the_split(
    pipe: JanusPipeline, images: Tensor, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    texts = ["a cat", "two birds on a line", "x", "a much longer description of it all", "a cat"]
    scores = torch.cat([pipe.score(images[row], texts[row]) for row in range(5)])
    choices = torch.cat([pipe.choose(images[row], texts[row], OPTIONS) for row in range(5)])
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    together = pipe.score(images, texts)
    torch.testing.assert_close(together, scores, rtol=0, atol=1e-5)
    assert together.argsort().tolist() == scores.argsort().tolist()
    torch.testing.assert_close(pipe.choose(images, texts, OPTIONS), choices, rtol=0, atol=1e-5)


def test_probabilities_sum_to_one_and_follow_the_order_of_the_options(
    pipe: JanusPipeline, images: Tensor
) -> None:
    found = pipe.choose(images, "What is it?", OPTIONS)
    assert (found.shape, found.dtype) == ((5, 4), torch.float32)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5), rtol=0, atol=1e-6)
    turned = pipe.choose(images, "What is it?", [f" {option}\n" for option in OPTIONS[::-1]])
    torch.testing.assert_close(turned.flip(1), found, rtol=0, atol=1e-6)


def test_features_are_judged_as_their_images(pipe: JanusPipeline, images: Tensor) -> None:
    features = pipe.encode_vision(images)
    with counted_images(pipe) as sizes:
        scores = pipe.score(features, "a cat")
        choices = pipe.choose(features, "What?", OPTIONS)
    assert sizes == []
    torch.testing.assert_close(scores, pipe.score(images, "a cat"), rtol=0, atol=1e-6)
    torch.testing.assert_close(choices, pipe.choose(images, "What?", OPTIONS), rtol=0, atol=1e-6)


def test_one_image_is_judged_by_several_descriptions(pipe: JanusPipeline, images: Tensor) -> None:
    both = pipe.score(images[:1], ["a cat", "a dog"])
    alone = [pipe.score(images[:1], text) for text in ("a cat", "a dog")]
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-5)
    assert float(both[0]) != float(both[1])


def test_a_model_that_draws_by_a_flow_judges_as_well(flow_pipe: JanusPipeline, images: Tensor) -> None:
    scores = flow_pipe.score(images, "a cat")
    assert len(set(scores.tolist())) == 5
    assert flow_pipe.choose(images, "What?", OPTIONS).shape == (5, 4)


def test_system_prompt_and_template_have_an_effect(pipe: JanusPipeline, images: Tensor) -> None:
    usual = pipe.score(images[:1], "a cat")
    assert not torch.equal(pipe.score(images[:1], "a cat", system_prompt=""), usual)
    assert not torch.equal(pipe.score(images[:1], "a cat", template="Is {description} here?"), usual)
    chosen = pipe.choose(images[:1], "What?", OPTIONS)
    assert not torch.equal(pipe.choose(images[:1], "What?", OPTIONS, system_prompt=""), chosen)


def test_other_braces_are_text() -> None:
    assert score_question("{0} {description} {?", " a {red} cat ") == "{0} a {red} cat {?"


def test_rows_are_counted_and_a_run_can_be_cancelled(
    pipe: JanusPipeline, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    monkeypatch.setattr(pipe, "max_batch_size", 2)
    for run in (
        lambda on_image: pipe.score(images, "a cat", on_image=on_image),
        lambda on_image: pipe.choose(images, "What?", OPTIONS, on_image=on_image),
    ):
        seen: list[tuple[int, int]] = []
        run(lambda done, total: seen.append((done, total)))  # noqa: B023
        assert seen == [(2, 5), (4, 5), (5, 5)]
        with counted_images(pipe) as sizes, pytest.raises(Cancelled):
            run(cancel)
        assert sizes == [2]
