"""The example workflows: each is whole, fits the live node definitions, and runs, some on stand-ins."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from janus_nodes.janus_core.training.shapes.drawing import draw_scene, read_picture
from janus_nodes.janus_core.training.shapes.scene import CELL_SIZE, PICTURE_SIZE
from PIL import Image
from support.workflows import (
    DRAWS,
    FOLDER,
    FORMER_VALUES,
    RENAMED,
    RUNNABLE,
    SAVES,
    SAYS,
    WORKFLOWS,
    read,
)

from dev.comfyui.client import ComfyClient
from dev.comfyui.server import ComfyServer
from dev.comfyui.stand_ins import GREY
from dev.comfyui.tree import REPO_ROOT
from dev.comfyui.users import CHECKPOINTS, choices
from dev.comfyui.workflow import NOTES, to_prompt, widget_names

BUILT_IN = "Janus-Shapes (built-in demonstration)"
TITLE_HEIGHT = 30
PROJECT = (REPO_ROOT / "pyproject.toml").read_text(encoding="utf-8")

WINDOW = (1366, 768)
FIT = 0.75  # share of the window that a graph takes up after zooming to fit
VUE = 1.2  # front end 1.32 enlarges a graph by this for Nodes 2.0
# Below 8 of the 14 pixels that text has at full size, classic rendering draws no text.
READABLE = 8 / 14


@pytest.fixture(scope="module")
def object_info(server: ComfyServer) -> dict[str, Any]:
    return server.client.object_info()


def test_there_is_a_workflow_for_each_task() -> None:
    assert WORKFLOWS == [
        "Ask for anything in words",
        "Best of four images",
        "Caption an image",
        "Caption an image and draw the caption",
        "Chat about an image",
        "Choose among answers",
        "Draw after thinking",
        "Edit part of an image",
        "Encode an image as tokens and decode it",
        "Encode an image once and ask many questions",
        "Enlarge an image and redraw a tile",
        "Generate an image from text",
        "How well an image matches a text",
        "Janus-4o - edit by instruction",
        "JanusFlow - image to image",
        "JanusFlow - refine with SDXL",
        "JanusFlow - text to image",
        "Score a folder of drawings",
        "Stable Diffusion - draw a caption",
        "T2I-R1 - think and draw",
        "Training captions for a folder of images",
    ]
    # Not all that these need is in the box: they run on stand-ins.
    assert set(WORKFLOWS) - set(RUNNABLE) == CHECKPOINTS.keys()


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
        outputs = [slot["type"] for slot in node["outputs"]]
        # Later versions of a core node may have more: Save Image has had an output since.
        expected = (
            description["output"]
            if node["type"].startswith("Janus")
            else description["output"][: len(outputs)]
        )
        assert outputs == expected, node["type"]
    for _, source, output, target, entry, kind in workflow["links"]:
        assert nodes[source]["outputs"][output]["type"] == kind
        assert nodes[target]["inputs"][entry]["type"] in (kind, "*")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_names_choices_that_every_install_offers(name: str, object_info: dict[str, Any]) -> None:
    """Except checkpoints: workflows that cannot use the demonstration name the folder that they need."""
    for node in to_prompt(read(name), object_info).values():
        if not node["class_type"].startswith("Janus"):
            continue
        declared = object_info[node["class_type"]]["input"]
        for key, spec in {**declared.get("required", {}), **declared.get("optional", {})}.items():
            if spec[0] == "COMBO" and key != "checkpoint":
                assert node["inputs"][key] in spec[1]["options"], key
        if node["class_type"] == "JanusLoad":
            assert (node["inputs"]["checkpoint"] == BUILT_IN) == (name in RUNNABLE)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nodes_name_their_packs_and_files_their_sources(name: str) -> None:
    """So that the front end can offer to install a missing pack, and to download a missing file."""
    for node in read(name)["nodes"]:
        if node["type"] in NOTES:
            continue
        pack = "janus-nodes" if node["type"].startswith("Janus") else "comfy-core"
        properties = node["properties"]
        assert (properties["cnr_id"], properties["Node name for S&R"]) == (pack, node["type"])
        assert f'version = "{properties["ver"]}"' in PROJECT or pack == "comfy-core"
        files = [value for value in node["widgets_values"] if str(value).endswith(".safetensors")]
        models = properties.get("models", [])
        assert [model["name"] for model in models] == files
        for model in models:
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/resolve/main/{model['name']}")
            assert model["directory"] in ("checkpoints", "vae")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_whole_graph_opens_at_a_readable_zoom(name: str) -> None:
    """Front ends after 1.32 zoom to fit on opening, with a margin; 1.32 opens the saved view."""
    workflow = read(name)
    left, top, right, bottom = around(workflow)
    width, height = WINDOW
    assert min(FIT * width / (right - left + 20), FIT * height / (bottom - top + 20)) > READABLE
    scale, (x, y) = workflow["extra"]["ds"]["scale"], workflow["extra"]["ds"]["offset"]
    assert scale > READABLE
    assert min((left + x) * scale, (top + y) * scale) > 60  # clear of the bars at the edges
    assert (left + x + (right - left) * VUE) * scale < width
    assert (top + y + (bottom - top) * VUE) * scale < height


def around(workflow: dict[str, Any]) -> tuple[float, float, float, float]:
    """The rectangle around all nodes: left, top, right, bottom."""
    corners = [(*node["pos"], *node["size"]) for node in workflow["nodes"]]
    left, top = min(c[0] for c in corners), min(c[1] for c in corners) - TITLE_HEIGHT
    return left, top, max(c[0] + c[2] for c in corners), max(c[1] + c[3] for c in corners)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nodes_lie_side_by_side(name: str) -> None:
    places = {}
    for node in read(name)["nodes"]:
        (left, top), (width, height) = node["pos"], node["size"]
        places[node["id"]] = (left, top - TITLE_HEIGHT, left + width, top + height)
    for (one, a), (other, b) in combinations(places.items(), 2):
        apart = a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
        assert apart, f"nodes {one} and {other}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_runs(name: str, client: ComfyClient, object_info: dict[str, Any]) -> None:
    prompt = to_prompt(read(name), object_info)
    for node, values in choices(name, read(name)).items():
        prompt[str(node)]["inputs"] |= values
    result = client.run(prompt).check()

    kinds = {str(node["id"]): node["type"] for node in read(name)["nodes"]}
    shown = set(kinds.values())
    assert {kinds[node] for node in result.outputs} >= SAYS & shown
    assert bool(result.images()) == bool(shown & (SAVES | DRAWS))
    texts = [text for node, kind in kinds.items() if kind in SAYS for text in result.texts(node)]
    assert all(text.strip() for text in texts)
    assert bool(texts) == bool(shown & SAYS)
    drawn = [image for node, kind in kinds.items() if kind in DRAWS for image in result.images(node)]
    assert bool(drawn) == bool(shown & DRAWS)
    if name in RUNNABLE:
        for image in drawn:
            assert_shapes_on_a_ground(client.view(image))
    elif not drawn:
        for image in result.images():
            assert_grey(client.view(image))


def test_workflow_with_former_combo_values_gives_the_same_as_with_the_present_ones(
    client: ComfyClient, object_info: dict[str, Any]
) -> None:
    prompt = to_prompt(json.loads(FORMER_VALUES.read_text(encoding="utf-8")), object_info)
    turns = {node: each["inputs"] for node, each in prompt.items() if each["class_type"] == "JanusUnderstand"}
    assert {inputs["history"] for inputs in turns.values()} == RENAMED.keys()
    before = client.run(prompt).check()
    for inputs in turns.values():
        inputs["history"] = RENAMED[inputs["history"]]
        assert (
            inputs["history"] in object_info["JanusUnderstand"]["input"]["optional"]["history"][1]["options"]
        )
    after = client.run(prompt).check()
    for node in turns:
        assert before.texts(node) == after.texts(node) != []


def assert_grey(png: bytes) -> None:
    """Fails on all that the stand-ins do not decode to."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.getextrema() == ((GREY, GREY),) * 3


def assert_shapes_on_a_ground(png: bytes) -> None:
    """Fails on noise: a picture of the demonstration's world is much like a drawing of what is read in it."""
    with Image.open(io.BytesIO(png)) as image:
        picture = np.asarray(image.convert("RGB"), np.float32)
    scene = read_picture(picture.astype(np.uint8))
    last = PICTURE_SIZE - CELL_SIZE  # an object at the edge may be read a pixel beyond it
    within = [
        replace(obj, left=min(max(obj.left, 0), last), top=min(max(obj.top, 0), last))
        for obj in scene.objects
    ]
    again = draw_scene(replace(scene, objects=tuple(within)))
    assert np.abs(picture - again).mean() < 12  # of 255
