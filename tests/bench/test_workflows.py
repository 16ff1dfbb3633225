"""The example workflows: each is whole, fits the live node definitions, and runs as it stands."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest
from PIL import Image

from .client import ComfyClient
from .demo import runnable
from .server import ComfyServer
from .tree import REPO_ROOT
from .workflow import NOTES, to_prompt, widget_names

FOLDER = REPO_ROOT / "workflows"
WORKFLOWS = sorted(path.stem for path in FOLDER.glob("*.json"))
RUNNABLE = sorted(runnable(FOLDER))
BUILT_IN = "Janus-Shapes (built-in demonstration)"
TITLE_HEIGHT = 30


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.client.object_info()


def test_there_is_a_workflow_for_each_task() -> None:
    assert WORKFLOWS == [
        "janus_ask",
        "janus_best_of_four",
        "janus_caption_folder",
        "janus_caption_image",
        "janus_caption_to_diffusion",
        "janus_caption_to_image",
        "janus_chat",
        "janus_edit_by_instruction",
        "janus_flow_image_to_image",
        "janus_flow_text_to_image",
        "janus_flow_to_ksampler",
        "janus_multiple_choice",
        "janus_one_encoding_many_questions",
        "janus_redraw_part",
        "janus_score_images",
        "janus_text_to_image",
        "janus_vq_round_trip",
    ]
    # These need checkpoints that the tests do not have, or a folder of one's own.
    assert set(WORKFLOWS) - set(RUNNABLE) == {
        "janus_caption_folder",
        "janus_caption_to_diffusion",
        "janus_edit_by_instruction",
        "janus_flow_image_to_image",
        "janus_flow_text_to_image",
        "janus_flow_to_ksampler",
    }


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_has_a_thumbnail(name: str) -> None:
    with Image.open(FOLDER / f"{name}.jpg") as thumbnail:
        assert min(thumbnail.size) >= 200
    assert (FOLDER / f"{name}.jpg").stat().st_size < 150_000


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_fits_the_live_node_definitions(name: str, object_info: dict[str, Any]) -> None:
    workflow = read(name)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        description = object_info[node["type"]]
        assert len(node["widgets_values"]) == len(list(widget_names(description))), node["type"]
        declared = {**description["input"].get("required", {}), **description["input"].get("optional", {})}
        assert {slot["name"] for slot in node["inputs"] if slot["link"] is not None} <= set(declared)
        assert [slot["type"] for slot in node["outputs"]] == description["output"]
    for _, source, output, target, entry, kind in workflow["links"]:
        assert nodes[source]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][entry]["type"] in (kind, "*")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_names_choices_that_every_install_offers(name: str, object_info: dict[str, Any]) -> None:
    for node in to_prompt(read(name), object_info).values():
        if not node["class_type"].startswith("Janus"):
            continue
        declared = object_info[node["class_type"]]["input"]
        for key, spec in {**declared.get("required", {}), **declared.get("optional", {})}.items():
            if spec[0] == "COMBO":
                assert node["inputs"][key] in spec[1]["options"], key
        if node["class_type"] == "JanusLoad":
            assert node["inputs"]["checkpoint"] == BUILT_IN


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nodes_lie_side_by_side(name: str) -> None:
    areas = {}
    for node in read(name)["nodes"]:
        (left, top), (width, height) = node["pos"], node["size"]
        areas[node["id"]] = (left, top - TITLE_HEIGHT, left + width, top + height)
    for (one, a), (other, b) in combinations(areas.items(), 2):
        apart = a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
        assert apart, f"nodes {one} and {other}"


@pytest.mark.parametrize("name", RUNNABLE)
def test_workflow_runs(name: str, client: ComfyClient, object_info: dict[str, Any]) -> None:
    result = client.run(to_prompt(read(name), object_info)).check()

    shown = {node["type"] for node in read(name)["nodes"]}
    assert bool(result.images()) == bool(shown & {"SaveImage", "PreviewImage"})
    assert all(text.strip() for text in result.texts())
    assert bool(result.texts()) == bool(shown & {"JanusUnderstand", "PreviewAny"})
