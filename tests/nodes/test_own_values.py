"""Guidance, temperature, top-k, top-p and steps: by default the checkpoint's own, or what a workflow says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_api.latest import io
from janus_nodes.janus_core import DEMONSTRATION
from janus_nodes.janus_core.training.pictures import to_pictures
from janus_nodes.janus_core.training.shapes.drawing import read_picture
from janus_nodes.janus_core.training.shapes.prompt_specs import ObjectSpec, PromptSpec
from janus_nodes.nodes import comfy_entrypoint, memory, own_values
from janus_nodes.nodes.ask import JanusAsk
from janus_nodes.nodes.best_of import JanusBestOf
from janus_nodes.nodes.edit import JanusEdit
from janus_nodes.nodes.flow import JanusFlowSampler
from janus_nodes.nodes.generate import JanusGenerate
from janus_nodes.nodes.own_values import OWN, SETTINGS, can_be_own
from janus_nodes.nodes.think import JanusThinkAndDraw
from janus_nodes.nodes.widgets import EXAMPLE_PROMPT
from support.checkpoints import copy_checkpoint, edit_json
from support.node_runs import run_and_show, widgets

NODES: list[type[io.ComfyNode]] = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
STATED = {
    "janus-pro-tiny": {"guidance_scale": 2.0, "temperature": 0.5, "top_k": 30, "top_p": 0.9},
    "janusflow-tiny": {"guidance_scale": 3.0, "num_steps": 2},
}
PUBLISHED = {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
IMAGE = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.ones(1, 32, 32)
DRAWING: list[tuple[type[io.ComfyNode], str, dict[str, Any], int]] = [
    (JanusGenerate, "janus-pro-tiny", {}, 1),
    (JanusBestOf, "janus-pro-tiny", {"batch_size": 1}, 2),
    (JanusEdit, "janus-pro-tiny", {"image": IMAGE, "mask": MASK, "candidates": 1}, 1),
    (JanusAsk, "janus-pro-tiny", {"task": "generate"}, 1),
    (JanusThinkAndDraw, "janus-pro-tiny", {"rounds": 0, "max_new_tokens": 4}, 4),
    (JanusFlowSampler, "janusflow-tiny", {}, 0),
]
every_drawing_node = pytest.mark.parametrize(("node", "name", "inputs", "output"), DRAWING)


def own_inputs(node: type[io.ComfyNode]) -> list[io.Input]:
    return [entry for entry in node.define_schema().inputs if can_be_own(entry)]


def drawn(output: Any) -> torch.Tensor:
    return output["samples"] if isinstance(output, dict) else output


def test_every_node_that_can_leave_a_setting_to_the_checkpoint_is_tried() -> None:
    assert {node for node in NODES if own_inputs(node)} == {case[0] for case in DRAWING}
    for node in NODES:
        for entry in own_inputs(node):
            assert entry.default == OWN
            stated = SETTINGS[entry.id].option is not None
            assert (f"{OWN} is the checkpoint's own value" if stated else f"{OWN}: ") in entry.tooltip


@every_drawing_node
def test_by_default_the_checkpoints_own_values_are_taken_and_reported(
    tmp_path: Path,
    sent: list[tuple[str, str]],
    node: type[io.ComfyNode],
    name: str,
    inputs: dict[str, Any],
    output: int,
) -> None:
    folder = copy_checkpoint(name, tmp_path / "janus")
    edit_json(folder / "processor_config.json", lambda config: config.update(image_sampling=STATED[name]))
    model = memory.load(folder, "fp32", None)
    stated = {
        widget: STATED[name][setting.option]
        for widget, setting in SETTINGS.items()
        if setting.option in STATED[name]
    }
    shown_by_node = {entry.id for entry in own_inputs(node)}
    outputs, shown = run_and_show(node, model=model, **inputs)
    assert shown["own"] == [stated]
    written = {widget: value for widget, value in stated.items() if widget in shown_by_node}
    spelled_out, _ = run_and_show(node, model=model, **inputs | written)
    assert torch.equal(drawn(outputs[output]), drawn(spelled_out[output]))


def test_a_checkpoint_that_states_nothing_takes_the_published_values(loaded: memory.LoadedJanus) -> None:
    _, shown = run_and_show(JanusGenerate, model=loaded)
    assert shown["own"] == [PUBLISHED]


def test_numbers_of_a_workflow_are_kept(loaded: memory.LoadedJanus) -> None:
    numbers = {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    model = memory.load(DEMONSTRATION, "fp32", None)  # its own are others
    _, shown = run_and_show(JanusGenerate, model=model, **numbers)
    assert shown["own"] == [numbers]


def test_an_answer_reports_no_settings(loaded: memory.LoadedJanus, sent: list[tuple[str, str]]) -> None:
    _, shown = run_and_show(JanusAsk, model=loaded, task="understand", max_new_tokens=2)
    assert shown["own"] == []


@pytest.mark.parametrize("node", [case[0] for case in DRAWING])
def test_values_between_own_and_the_smallest_are_refused(node: type[io.ComfyNode]) -> None:
    for entry in own_inputs(node):
        setting = SETTINGS[entry.id]
        # A whole number has nothing between -1 and 0.
        between = {"steps": 0}.get(entry.id, -0.5 if isinstance(entry, io.Float.Input) else None)
        if between is None:
            continue
        expected = (
            f"^{entry.id} must be -1 for {setting.whose}, or at least {setting.least:g}, got {between:g}; "
            "set one of these$"
        )
        model = memory.LoadedJanus(None, None, None)  # type: ignore[arg-type]  # must not be used
        inputs = {"image": IMAGE} if node is JanusEdit else {}
        with pytest.raises(ValueError, match=expected):
            run_and_show(node, model=model, **inputs, **{entry.id: between})


def test_the_first_picture_of_a_fresh_node_is_right() -> None:
    model = memory.load(DEMONSTRATION, "auto", None)  # as Load Janus-Pro by default
    assert widgets(JanusGenerate)["prompt"] == EXAMPLE_PROMPT
    assert EXAMPLE_PROMPT == "A red star and a blue circle on a white background."
    spec = PromptSpec("two objects", (ObjectSpec("star", "red"), ObjectSpec("circle", "blue")))
    scenes = []
    for seed in range(12):
        (images, _), _ = run_and_show(JanusGenerate, model=model, seed=seed)
        scenes += [read_picture(picture) for picture in to_pictures(images)]
    assert [spec.is_satisfied_by(scene) and scene.background == "white" for scene in scenes] == [True] * 12


def test_the_canvas_has_the_same_settings() -> None:
    script = (Path(own_values.__file__).parents[1] / "web" / "janus_widgets.js").read_text(encoding="utf-8")
    rows = re.findall(r"^  (\w+): \{ whose: \"\w+\", least: ([\d.]+) \},$", script, re.MULTILINE)
    assert {name: float(least) for name, least in rows} == {
        name: setting.least for name, setting in SETTINGS.items()
    }
