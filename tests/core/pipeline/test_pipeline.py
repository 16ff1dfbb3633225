"""The public face: what it gives back, what it shares and splits, and how it refuses what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    JanusPipeline,
    Precision,
    TextSampling,
    TokenSampling,
    VisionFeatures,
    load_pipeline,
)
from support.checkpoints import small_config, write_checkpoint
from support.drawing import counted_images
from support.parametrize import slow_except
from torch import Tensor

GREEDY = TextSampling(max_new_tokens=24)
SHORT = TextSampling(max_new_tokens=6)
VARIED = TextSampling(max_new_tokens=6, temperature=1.2, seed=50)
QUESTION = "Describe the image in detail."
Picture = Callable[[str], Tensor]


def test_answers_about_pictures_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    image = picture("landscape_rgb")
    expected = recorded.value("understand.one_image.greedy_text")
    assert pipe.understand(image[None], QUESTION, GREEDY) == expected
    placed = recorded.messages("two_images")[0].text
    pair = [picture(name) for name in recorded.images("two_images")]
    assert pipe.understand(pair, placed, GREEDY) == recorded.value("understand.two_images.greedy_text")
    text = recorded.messages("text_only")[0].text
    assert pipe.understand(None, text, GREEDY) == recorded.value("understand.text_only.greedy_text")


@pytest.mark.parametrize(
    ("rows_at_once", "options"), slow_except(product((1, 3, 8), (SHORT, VARIED)), (3, VARIED), (8, SHORT))
)
def test_answers_do_not_depend_on_the_split(
    pipe: JanusPipeline,
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    options: TextSampling,
    rows_at_once: int,
) -> None:
    questions = ["What?", "Describe it.", QUESTION, "Why?", "Name all of the colours that you see."]
    alone = [
        pipe.understand(images[row][None], questions[row], replace(options, seed=options.seed + row))[0]
        for row in range(5)
    ]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    assert pipe.understand(images, questions, options) == alone


@pytest.mark.parametrize("rows_at_once", slow_except([1, 3, 8], 3))
@pytest.mark.parametrize("quantized", [None, "int8", "int4"])
def test_drawn_images_do_not_depend_on_the_split(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, quantized: str | None
) -> None:
    if quantized:
        pipe = load_pipeline(pipe.folder, dtype=Precision(torch.float32, quantized=quantized))
    alone = [pipe.generate("A cat", TokenSampling(seed=9 + row)) for row in range(5)]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    together = pipe.generate("A cat", TokenSampling(seed=9, batch_size=5))
    assert torch.equal(together.tokens, torch.cat([drawn.tokens for drawn in alone]))
    torch.testing.assert_close(
        together.images, torch.cat([drawn.images for drawn in alone]), rtol=0, atol=1e-5
    )


def test_results_have_the_promised_shapes_and_ranges(pipe: JanusPipeline, images: Tensor) -> None:
    drawn = pipe.generate("A cat", TokenSampling(batch_size=2))
    assert (drawn.images.shape, drawn.images.dtype) == ((2, 64, 64, 3), torch.float32)
    assert float(drawn.images.min()) >= 0.0
    assert float(drawn.images.max()) <= 1.0
    assert (drawn.tokens.shape, drawn.tokens.dtype) == ((2, 16), torch.int64)
    assert pipe.encode_tokens(images).shape == (5, 16)
    assert torch.equal(pipe.decode_tokens(drawn.tokens), drawn.images)
    features = pipe.encode_vision(images)
    assert features.image_embeds.shape == (5, 16, 64)
    assert features.last_hidden_state.shape == (5, 16, 48)


def test_other_sizes_do_all_of_it(tmp_path: Path, images: Tensor) -> None:
    write_checkpoint(tmp_path / "model", small_config(), seed=2)
    pipe = load_pipeline(tmp_path / "model", dtype=torch.float32)
    drawn = pipe.generate("A cat", TokenSampling(batch_size=2))
    assert drawn.images.shape == (2, 24, 24, 3)
    assert drawn.tokens.shape == (2, 36)
    assert len(pipe.understand([images, drawn.images[:1]], "Which?", SHORT)) == 5
    assert pipe.encode_vision(images).image_embeds.shape == (5, 16, 80)


def test_features_stand_in_for_their_images(pipe: JanusPipeline, images: Tensor) -> None:
    expected = pipe.understand(images, QUESTION, SHORT)
    features = pipe.encode_vision(images)
    with counted_images(pipe) as sizes:
        assert pipe.understand(features, QUESTION, SHORT) == expected
        mixed = pipe.understand([features, features], "Compare.", SHORT)
    assert sizes == []
    assert mixed == pipe.understand([images, features], "Compare.", SHORT)


def test_features_split_move_and_select_as_tensors_do(pipe: JanusPipeline, images: Tensor) -> None:
    features = pipe.encode_vision(images)
    assert len(features) == 5
    assert torch.equal(features[[3, 1]].image_embeds, features.image_embeds[[3, 1]])
    parts = features.split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.last_hidden_state for part in parts]), features.last_hidden_state)
    assert features.to("meta").image_embeds.is_meta


def test_one_image_is_encoded_once_for_many_questions(pipe: JanusPipeline, images: Tensor) -> None:
    questions = [f"Question number {number}?" for number in range(19)]
    with counted_images(pipe) as sizes:
        answers = pipe.understand(images[:1], questions, SHORT)
    assert sizes == [1]
    assert answers[17] == pipe.understand(images[0], questions[17], SHORT)[0]


def test_one_of_several_images_may_be_shared(pipe: JanusPipeline, images: Tensor) -> None:
    answers = pipe.understand([images[:3], images[4]], "Compare.", SHORT)
    assert answers[2] == pipe.understand([images[2], images[4]], "Compare.", SHORT)[0]


def test_pictures_of_different_sizes_go_into_one_question(pipe: JanusPipeline) -> None:
    places = [torch.rand(9, 30, 3), torch.rand(40, 5, 1), torch.rand(1, 1, 4)]
    assert len(pipe.understand(places, "Compare.", SHORT)) == 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (16000, 10, 3), (12, 9, 1), (12, 9, 4)], ids=str)
def test_images_of_any_shape_are_accepted_by_every_method(
    pipe: JanusPipeline, shape: tuple[int, ...]
) -> None:
    images = torch.rand(1, *shape)
    assert len(pipe.understand(images, "What?", SHORT)) == 1
    assert pipe.encode_tokens(images).shape == (1, 16)
    assert pipe.encode_vision(images).image_embeds.shape == (1, 16, 64)


def test_system_prompt_and_place_of_the_image_have_an_effect(pipe: JanusPipeline, images: Tensor) -> None:
    builder = pipe.prompts
    usual = builder.understanding(["What?"], 1, "Be brief.").input_ids
    assert not torch.equal(builder.understanding(["What?"], 1, "").input_ids, usual)
    placed = builder.understanding(["What?\n<image_placeholder>"], 1, "Be brief.").input_ids
    assert placed.shape == usual.shape
    assert not torch.equal(placed, usual)
    assert len(pipe.understand(images[:1], "What?<image_placeholder>", SHORT, system_prompt="")) == 1


def test_steps_of_all_splits_count_as_one_run(
    pipe: JanusPipeline, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "max_batch_size", 2)
    seen: list[tuple[int, int, int]] = []
    pipe.generate(
        "A cat",
        TokenSampling(batch_size=5),
        on_step=lambda step, total, tokens: seen.append((step, total, len(tokens))),
    )
    assert [step for step, _, _ in seen] == list(range(1, 49))
    assert {total for _, total, _ in seen} == {48}
    assert [rows for _, _, rows in seen] == [2] * 32 + [1] * 16


@pytest.mark.slow
def test_five_thousand_images_in_a_batch_are_answered(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "max_batch_size", 250)
    embeds = torch.randn(5000, 16, 64, generator=torch.Generator().manual_seed(3))
    features = VisionFeatures(embeds, torch.empty(5000, 16, 48))
    options = TextSampling(max_new_tokens=1)
    answers = pipe.understand(features, "What?", options, system_prompt="")
    assert len(answers) == 5000
    last = VisionFeatures(embeds[-1:], torch.empty(1, 16, 48))
    assert answers[-1] == pipe.understand(last, "What?", options, system_prompt="")[0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_tokens_are_taken_in_any_dtype_of_whole_numbers(pipe: JanusPipeline, dtype: torch.dtype) -> None:
    tokens = torch.arange(16)[None]
    assert torch.equal(pipe.decode_tokens(tokens.to(dtype)), pipe.decode_tokens(tokens))


def test_results_need_no_gradients_and_leave_the_global_generator_alone(
    pipe: JanusPipeline, images: Tensor
) -> None:
    before = torch.random.get_rng_state()
    drawn = pipe.generate("A cat")
    pipe.understand(images[:1], "What?", VARIED)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not drawn.images.requires_grad
    assert torch.is_grad_enabled()
