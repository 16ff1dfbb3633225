"""A newcomer's ways to a first picture, with real mouse and keyboard events, each of them counted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from janus_nodes.janus_core.training.shapes.drawing import read_picture
from PIL import Image
from playwright.sync_api import Browser

from dev.browser.canvas import PACK, Canvas
from dev.browser.newcomer import Newcomer
from dev.browser.open import canvas_in
from dev.comfyui.server import ComfyServer
from dev.comfyui.tree import FRONT_END, ComfyUIUnavailableError, front_end, front_end_of

TEMPLATE = "Generate an image from text"
EMPTY = {"nodes": [], "links": [], "last_node_id": 0, "last_link_id": 0, "version": 0.4}
RIGHT = {("star", "red"), ("circle", "blue")}


@pytest.fixture(scope="module", params=["pinned", "newest"])
def first_start(
    request: pytest.FixtureRequest,
    browser: Browser,
    server_factory: Callable[..., ComfyServer],
    comfyui_tree: Path,
) -> Iterator[Canvas]:
    """A front end with the rendering that new users have, and no checkpoint but the demonstration."""
    requirement = FRONT_END if request.param == "newest" else front_end_of(comfyui_tree)
    try:
        server = server_factory(arguments=("--front-end-root", str(front_end(requirement))))
    except ComfyUIUnavailableError as error:
        pytest.skip(f"no {request.param} front end: {error}")
    server.start()
    server.client.post("/settings", {"Comfy.VueNodes.Enabled": request.param == "newest"})
    canvas = canvas_in(browser, server, (1366, 768))
    yield canvas
    canvas.page.close()
    server.stop()


def drawn(canvas: Canvas) -> set[tuple[str, str]]:
    """Shape and colour of each object in the picture that Janus Generate shows, read as in the evaluation."""
    (file,) = canvas.page.evaluate("""() =>
      app.nodeOutputs[app.graph._nodes.find(node => node.type === "JanusGenerate").id].images""")
    with Image.open(io.BytesIO(canvas.server.client.view(file))) as picture:
        scene = read_picture(np.asarray(picture.convert("RGB")))
    return {(each.shape, each.colour) for each in scene.objects}


def test_load_is_found_by_its_names(first_start: Canvas) -> None:
    # For "janus", front ends begin with the shortest id that starts so: JanusAsk. Ids cannot change.
    # Before the other tests, which leave the library open.
    first_start.open(EMPTY)
    newcomer = Newcomer(first_start)
    newcomer.open_search(700, 300)
    offered = {}
    for words in ("janus", "janus-pro", "load janus"):
        newcomer.press("Control+a")
        newcomer.type(words)
        offered[words] = newcomer.offered()
    newcomer.press("Escape")
    names = offered.pop("janus")
    assert names[0] == "Janus Ask" and "Load Janus-Pro" in names[1:4], names
    assert [names[0] for names in offered.values()] == ["Load Janus-Pro"] * 2


def test_from_the_template_browser_in_four_actions(first_start: Canvas) -> None:
    newcomer = Newcomer(first_start)
    newcomer.click(".templates-tab-button")
    newcomer.choose(PACK)
    newcomer.click(f"[data-testid='template-workflow-{TEMPLATE}']")
    assert newcomer.run() == "execution_success"
    assert len(newcomer.actions) <= 4
    assert drawn(first_start) == RIGHT


def test_from_an_empty_canvas_in_six_actions(first_start: Canvas) -> None:
    first_start.open(EMPTY)
    newcomer = Newcomer(first_start)
    version = first_start.page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__")
    if not version.startswith("1.32."):  # a node from the search follows the mouse until a further click
        newcomer.press("n")  # the library of nodes
        newcomer.type("janus generate")
        newcomer.drag_entry("Janus Generate", 900, 250)
    else:
        newcomer.open_search(700, 300)
        newcomer.type("janus generate")
        newcomer.press("Enter")
    newcomer.drag_input_to(500, 600)
    newcomer.choose("Load Janus-Pro")
    assert newcomer.run() == "execution_success"
    assert len(newcomer.actions) <= 6
    assert drawn(first_start) == RIGHT
