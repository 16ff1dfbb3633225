"""Every widget has an effect: changed alone, it changes the result of its node."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import weight_bytes
from janus_nodes.janus_core.training.shapes.questions import random_question
from janus_nodes.janus_core.training.shapes.scene import random_scene
from janus_nodes.nodes import comfy_entrypoint, understand
from janus_nodes.nodes.ask import JanusAsk
from janus_nodes.nodes.best_of import JanusBestOf
from janus_nodes.nodes.caption_folder import JanusCaptionFolder
from janus_nodes.nodes.edit import JanusEdit
from janus_nodes.nodes.encode import JanusSiglipEncode, JanusVQDecode, JanusVQEncode
from janus_nodes.nodes.flow import JanusFlowSampler
from janus_nodes.nodes.generate import JanusGenerate
from janus_nodes.nodes.load import JanusLoad
from janus_nodes.nodes.lora import JanusLora
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.prompt_list import JanusPromptList
from janus_nodes.nodes.score import JanusChoose, JanusScore
from janus_nodes.nodes.think import JanusThinkAndDraw
from janus_nodes.nodes.understand import JanusUnderstand
from support.checkpoints import copy_checkpoint
from support.node_runs import run, widgets
from torch import Tensor

UNDERSTAND = {
    "task": "short caption",
    "question": "Who is this?",
    "batch": understand.ALL_TOGETHER,
    "max_new_tokens": 3,
    "temperature": 0.0,
    "seed": 2**64 - 1,
    "top_k": 1,
    "top_p": 0.01,
    "min_p": 1.0,
    "repetition_penalty": 2.0,
    "system_prompt": "",
    "history": understand.START_OVER,
    "answer_format": understand.JSON,
}
# These are tried in test_conversations.py.
OF_CONVERSATIONS = {"history", "answer_format"}
GENERATE = {
    "prompt": "A red ball.",
    "negative_prompt": "A blue ball.",
    "seed": 2**64 - 1,
    "batch_size": 2,
    "guidance_scale": 1.0,
    "temperature": 0.0,
    "top_k": 1,
    "top_p": 0.01,
}
# `download` has tests of its own.
LOAD = {
    "checkpoint": "other",
    "precision": "bf16",
    "template": "deepseek_old",
    "convert_bin": True,
    "download": True,
}


@pytest.fixture
def picture() -> Tensor:
    """Two different images."""
    return torch.rand(2, 24, 40, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def janus(loaded: LoadedJanus, sent: list[tuple[str, str]]) -> LoadedJanus:
    """The golden checkpoint, with a server that takes the streamed text."""
    return loaded


def test_every_widget_is_tried() -> None:
    assert widgets(JanusUnderstand).keys() == UNDERSTAND.keys()
    assert widgets(JanusGenerate).keys() == GENERATE.keys()
    assert widgets(JanusLoad).keys() == LOAD.keys()
    nodes = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
    elsewhere = {
        JanusAsk,
        JanusFlowSampler,
        JanusEdit,
        JanusScore,
        JanusChoose,
        JanusBestOf,
        JanusCaptionFolder,
        JanusLora,
        JanusPromptList,
        JanusThinkAndDraw,
    }
    tried = {JanusUnderstand, JanusGenerate, JanusLoad} | elsewhere
    assert {node for node in nodes if widgets(node)} == tried


@pytest.mark.parametrize("widget", [widget for widget in UNDERSTAND if widget not in OF_CONVERSATIONS])
def test_widget_of_understand_changes_the_answer(janus: LoadedJanus, picture: Tensor, widget: str) -> None:
    # Greedy answers of a model with random weights go in circles, so that there is something to penalise.
    temperature = 0.0 if widget == "repetition_penalty" else 1.0
    base = {"model": janus, "image": picture, "max_new_tokens": 32, "temperature": temperature}
    before = run(JanusUnderstand, **base)[0]
    after = run(JanusUnderstand, **base | {widget: UNDERSTAND[widget]})[0]
    assert run(JanusUnderstand, **base)[0] == before
    assert after != before


@pytest.mark.parametrize("task", [task for task in understand.TASKS if task != understand.OWN_QUESTION])
def test_each_task_asks_its_question(janus: LoadedJanus, picture: Tensor, task: str) -> None:
    base = {"model": janus, "image": picture[:1], "max_new_tokens": 6}
    written_out = run(JanusUnderstand, **base, question=understand.TASKS[task])[0]
    assert run(JanusUnderstand, **base, task=task, question="Something else?")[0] == written_out


def test_the_demonstration_model_learns_the_question_of_each_task() -> None:
    rng = random.Random(0)
    kinds = ("describe", "tags", "nothing") * 200
    asked = {random_question(random_scene(rng), rng, kind).text for kind in kinds}
    assert {question for question in understand.TASKS.values() if question} <= asked


@pytest.mark.parametrize("widget", GENERATE)
def test_widget_of_generate_changes_the_image(janus: LoadedJanus, widget: str) -> None:
    before = run(JanusGenerate, model=janus)[1]
    after = run(JanusGenerate, model=janus, **{widget: GENERATE[widget]})[1]
    assert after.shape != before.shape or not torch.equal(after, before)


def test_widgets_of_load_change_the_model(janus_folder: Path) -> None:
    for name, source in (("one", "janus-pro-tiny"), ("other", "janus-pro-tiny-bin")):
        copy_checkpoint(source, janus_folder / name)
    base = {"checkpoint": "one", "precision": "fp32"}
    before = run(JanusLoad, **base)[0].pipeline
    assert run(JanusLoad, **base | {"checkpoint": "other"})[0].pipeline.folder != before.folder
    packed = run(JanusLoad, **base | {"precision": "bf16"})[0].pipeline
    assert weight_bytes(packed.model.body) < 0.6 * weight_bytes(before.model.body)
    assert (
        run(JanusLoad, **base | {"template": "deepseek_old"})[0].pipeline.prompts.chat != before.prompts.chat
    )
    assert not list((janus_folder / "other").glob("*.safetensors"))
    run(JanusLoad, **base | {"checkpoint": "other", "convert_bin": True})
    assert list((janus_folder / "other").glob("*.safetensors"))


def test_features_answer_as_their_images_do(janus: LoadedJanus, picture: Tensor) -> None:
    (features,) = run(JanusSiglipEncode, model=janus, image=picture)
    for batch in (understand.ONE_EACH, understand.ALL_TOGETHER):
        base = {"model": janus, "batch": batch, "max_new_tokens": 8}
        from_features, from_images = (
            run(JanusUnderstand, **base, **images)[0]
            for images in ({"features": features}, {"image": picture})
        )
        assert from_features == from_images


def test_results_lie_on_the_device_between_nodes(janus: LoadedJanus, picture: Tensor) -> None:
    (features,) = run(JanusSiglipEncode, model=janus, image=picture)
    (tokens,) = run(JanusVQEncode, model=janus, image=picture)
    (images,) = run(JanusVQDecode, model=janus, tokens=tokens)
    drawn, drawn_tokens = run(JanusGenerate, model=janus)
    results = (features.image_embeds, features.last_hidden_state, tokens, images, drawn, drawn_tokens)
    assert {result.device.type for result in results} == {"cpu"}
    assert images.dtype == drawn.dtype == torch.float32
    assert images.shape == (2, 64, 64, 3)
