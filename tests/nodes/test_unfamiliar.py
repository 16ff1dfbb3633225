"""What nodes say below answers about pictures unlike those that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import comfy.model_management as mm
import folder_paths
import pytest
import torch
from comfy_api.latest import io
from janus_nodes.janus_core import DEMONSTRATION
from janus_nodes.janus_core.training.pictures import to_images
from janus_nodes.nodes import memory
from janus_nodes.nodes.ask import JanusAsk
from janus_nodes.nodes.caption_folder import JanusCaptionFolder
from janus_nodes.nodes.encode import JanusSiglipEncode
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.score import JanusChoose, JanusScore
from janus_nodes.nodes.understand import ALL_TOGETHER, JanusUnderstand
from support.node_runs import run, run_and_show
from support.pictures import write_photograph
from support.unfamiliar import known_pictures, photographs
from torch import Tensor

pytestmark = pytest.mark.usefixtures("sent")  # texts go onto running nodes

UNLIKE = "unlike everything that this model was trained on (flat shapes"
ADVICE = "For photographs, choose Janus-Pro in Load Janus-Pro.]"


@pytest.fixture
def box() -> Iterator[LoadedJanus]:
    yield memory.load(DEMONSTRATION, "fp32", None)
    mm.unload_all_models()


@pytest.fixture
def own() -> Tensor:
    return to_images(known_pictures(1, "own")["scenes"])[0][None]


@pytest.fixture
def photograph() -> Tensor:
    return to_images(photographs(0, "whole"))[0][None, :96, :96]


def note(node: type[io.ComfyNode], **inputs: object) -> str:
    outputs, shown = run_and_show(node, **inputs)
    assert "unlike" not in str(outputs)
    (text,) = shown["note"]
    return str(text)


@pytest.mark.parametrize("node", [JanusUnderstand, JanusScore, JanusChoose])
def test_a_photograph_is_noted_beside_the_result_and_an_own_picture_is_not(
    node: type[io.ComfyNode], box: LoadedJanus, own: Tensor, photograph: Tensor
) -> None:
    said = note(node, model=box, image=photograph)
    assert said.startswith(f"[This image is {UNLIKE}") and ADVICE in said
    assert UNLIKE not in note(node, model=box, image=own)
    features = run(JanusSiglipEncode, model=box, image=torch.cat((own, photograph, photograph)))[0]
    assert note(node, model=box, features=features).startswith(f"[2 of 3 images are {UNLIKE}")


def test_one_question_about_all_pictures_has_one_note(
    box: LoadedJanus, own: Tensor, photograph: Tensor
) -> None:
    said = note(JanusUnderstand, model=box, image=torch.cat((own, photograph)), batch=ALL_TOGETHER)
    assert said.startswith(f"[1 of 2 images is {UNLIKE}")


def test_ask_shows_it_below_the_text(box: LoadedJanus, own: Tensor, photograph: Tensor) -> None:
    request = {"task": "understand", "request": "Which colour is it?", "model": box}
    (text, *_), shown = run_and_show(JanusAsk, image=photograph, **request)
    assert f"{text}\n\n[This image is {UNLIKE}" in shown["text"][0]
    assert UNLIKE not in run_and_show(JanusAsk, image=own, **request)[1]["text"][0]


def test_captioned_folders_name_the_photographs(box: LoadedJanus) -> None:
    folder = Path(folder_paths.get_input_directory()) / "photographs"
    folder.mkdir(parents=True, exist_ok=True)
    write_photograph("coffee", folder)
    report = run(JanusCaptionFolder, model=box, folder="photographs", overwrite=True)[3]
    assert "1 unlike everything that the model was trained on" in report and "coffee.png" in report


def test_other_checkpoints_say_nothing_about_photographs(loaded: LoadedJanus, photograph: Tensor) -> None:
    for node in (JanusUnderstand, JanusScore, JanusChoose):
        assert UNLIKE not in note(node, model=loaded, image=photograph)
