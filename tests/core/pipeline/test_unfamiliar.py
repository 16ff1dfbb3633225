"""Answers about images unlike all that a checkpoint was trained on say so, and no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import (
    DEMONSTRATION,
    JanusPipeline,
    TextSampling,
    TokenSampling,
    caption_folder,
    load_pipeline,
    reply,
    save_checkpoint,
)
from janus_nodes.janus_core.pipeline.runtime import AppliedAdapter
from janus_nodes.janus_core.training.pictures import to_images
from PIL import Image
from support.pictures import write_photograph
from support.unfamiliar import known_pictures, photographs
from torch import Tensor

SHORT = TextSampling(max_new_tokens=2)
QUESTION = "How many objects are there?"


@pytest.fixture(scope="module")
def own() -> Tensor:
    return to_images(known_pictures(1, "own")["scenes"])[0][None]


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    return to_images(photographs(0, "whole"))[0][None, :96, :96]


def test_each_image_of_a_batch_is_judged(shapes_pipe: JanusPipeline, own: Tensor, photograph: Tensor) -> None:
    images = torch.cat((own, photograph, own))
    pipe = replace(shapes_pipe, max_batch_size=2)
    assert [each.unfamiliar for each in pipe.understand(images, QUESTION, SHORT)] == [False, True, False]
    assert pipe.are_unfamiliar(images) == (False, True, False)


def test_features_keep_what_is_known(shapes_pipe: JanusPipeline, own: Tensor, photograph: Tensor) -> None:
    features = shapes_pipe.encode_vision(torch.cat((own, photograph))).to("cpu")
    assert features.unfamiliar == (False, True)
    assert [part.unfamiliar for part in features.split(1)] == [(False,), (True,)]
    assert features[[1, 1]].unfamiliar == (True, True)
    answers = shapes_pipe.understand(features, QUESTION, SHORT)
    assert [each.unfamiliar for each in answers] == [False, True]
    assert shapes_pipe.are_unfamiliar(features) == (False, True)


def test_one_question_about_many_images_counts_each_of_them(
    shapes_pipe: JanusPipeline, own: Tensor, photograph: Tensor
) -> None:
    for images, expected in (([own, photograph], True), ([own, own], False), ([photograph, own], True)):
        (answer,) = shapes_pipe.understand(images, QUESTION, SHORT)
        assert answer.unfamiliar is expected
    answers = shapes_pipe.understand(photograph, [QUESTION, "What is it?"], SHORT)  # all share the image
    assert [each.unfamiliar for each in answers] == [True, True]


def test_a_conversation_remembers_it(shapes_pipe: JanusPipeline, own: Tensor, photograph: Tensor) -> None:
    first = shapes_pipe.chat(QUESTION, own, options=SHORT)
    assert (first.unfamiliar, first.answer.unfamiliar) == ((False,), False)
    second = shapes_pipe.chat("And here?", photograph, first, SHORT)
    third = shapes_pipe.chat("Which colours?", None, second, SHORT)
    assert second.unfamiliar == third.unfamiliar == third.before(0).unfamiliar == (False, True)
    assert third.answer.unfamiliar
    answers = shapes_pipe.converse(None, "Why?", SHORT, conversation=third, check=lambda text: text + "!")
    assert answers[0].answer.unfamiliar and answers[0].answer.endswith("!")


def test_without_an_image_nothing_is_said(shapes_pipe: JanusPipeline) -> None:
    (answer,) = shapes_pipe.understand(None, "Which colours do you know?", SHORT)
    assert answer.unfamiliar is False
    assert shapes_pipe.are_unfamiliar(None) == ()


def test_a_description_that_is_drawn_says_so(shapes_pipe: JanusPipeline, photograph: Tensor) -> None:
    for task in ("understand", "describe and generate"):
        result = reply(shapes_pipe, "Describe it.", photograph, task, TextSampling(8), TokenSampling(seed=1))
        assert result.text is not None and result.text.unfamiliar


def test_it_costs_no_further_pass(
    shapes_pipe: JanusPipeline, own: Tensor, photograph: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    encoder = shapes_pipe.model.understanding
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda pixels: (calls.append(len(pixels)), forward(pixels))[1])
    shapes_pipe.understand(torch.cat((own, photograph)), QUESTION, SHORT)
    assert calls == [2]


def test_other_checkpoints_say_nothing(pipe: JanusPipeline, photograph: Tensor) -> None:
    assert pipe.known_images is None
    assert pipe.encode_vision(photograph).unfamiliar == ()
    (said,) = pipe.converse(photograph, QUESTION, SHORT)
    assert (said.unfamiliar, said.answer.unfamiliar) == ((), False)
    assert pipe.are_unfamiliar(photograph) == ()


def test_with_an_adapter_it_says_nothing_and_saves_nothing(
    shapes_pipe: JanusPipeline, photograph: Tensor, tmp_path: Path
) -> None:
    adapted = replace(shapes_pipe, adapters=(AppliedAdapter("taught", "0", 1.0, False),))
    assert not adapted.understand(photograph, QUESTION, SHORT)[0].unfamiliar
    save_checkpoint(adapted, tmp_path / "merged")
    assert load_pipeline(tmp_path / "merged").known_images is None


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_saved_copy_in_any_precision_says_the_same(
    shapes_pipe: JanusPipeline, own: Tensor, photograph: Tensor, tmp_path: Path, precision: str
) -> None:
    save_checkpoint(shapes_pipe, tmp_path / "copy")
    name = "known_images.json"
    assert (tmp_path / "copy" / name).read_bytes() == (DEMONSTRATION / name).read_bytes()
    copy = load_pipeline(tmp_path / "copy", dtype=precision)
    answers = copy.understand(torch.cat((own, photograph)), QUESTION, SHORT)
    assert [each.unfamiliar for each in answers] == [False, True]


def test_the_report_on_a_folder_names_the_images(shapes_pipe: JanusPipeline, tmp_path: Path) -> None:
    write_photograph("chelsea", tmp_path)
    Image.fromarray(known_pictures(1, "own")["scenes"][0]).save(tmp_path / "scene.png")
    report = caption_folder(shapes_pipe, tmp_path, None, TextSampling(max_new_tokens=40))
    assert (report.done, report.unfamiliar) == (2, ["chelsea.png"])
    (line,) = [line for line in report.text.splitlines() if "unlike" in line]
    assert line.startswith("1 unlike everything that the model was trained on") and "chelsea.png" in line
    assert line.endswith("caption photographs with Janus-Pro")
    assert (tmp_path / "chelsea.txt").is_file()
