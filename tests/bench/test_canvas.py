"""What users see: the pack in a real browser, on the front end that the tests pin and on the newest.

Without a browser, or without the newest front end, these tests are skipped with the reason; with
`JANUS_REQUIRE_BROWSER=1` a missing browser fails them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .browser import find_browser, open_canvas
from .canvas import Canvas
from .server import ComfyServer
from .test_workflows import DRAWS, RUNNABLE, SAYS, read
from .test_workflows import WORKFLOWS as NAMES
from .tree import BenchUnavailableError, newest_front_end

WORKFLOWS = {name: read(name) for name in NAMES}


@pytest.fixture(scope="module", params=["pinned", "newest"])
def canvas(
    request: pytest.FixtureRequest, server: ComfyServer, server_factory: Callable[..., ComfyServer]
) -> Iterator[Canvas]:
    """The canvas on one of the two front ends."""
    if find_browser() is None:
        reason = "no Chromium or Chrome on the PATH, nor one that CHROMIUM_PATH names"
        if os.environ.get("JANUS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and JANUS_REQUIRE_BROWSER=1 demands one")
        pytest.skip(reason)
    if request.param == "newest":
        try:
            front_end = newest_front_end()
        except BenchUnavailableError as error:
            pytest.skip(f"no newest front end: {error}")
        tiny = server.base / "models" / "janus" / "janus-pro-tiny"
        server = server_factory(arguments=("--front-end-root", str(front_end)))
        server.add_model(tiny)
        server.start()
    with open_canvas(server) as canvas:
        yield canvas


@pytest.fixture(autouse=True)
def nothing_is_wrong(canvas: Canvas) -> Iterator[None]:
    """No message on the page and no error of ours in the console; whatever a test left behind is ended."""
    canvas.errors.clear()
    yield
    found = canvas.messages(), canvas.errors
    canvas.stop()
    assert found == ([], [])


def nodes_of(workflow: dict[str, Any], kinds: set[str]) -> dict[str, str]:
    """The classes of a workflow's nodes of some kinds, by id."""
    return {str(node["id"]): node["type"] for node in workflow["nodes"] if node["type"] in kinds}


def values_of(workflow: dict[str, Any]) -> dict[int, list[Any]]:
    """The values of all widgets, by node."""
    return {node["id"]: node.get("widgets_values") or [] for node in workflow["nodes"]}


def widget(canvas: Canvas, node: int, name: str) -> Any:
    """The value of a widget."""
    return canvas.page.evaluate(
        "([id, name]) => app.graph.getNodeById(id).widgets.find(w => w.name === name).value", [node, name]
    )


def set_widget(canvas: Canvas, node: int, name: str, value: object) -> None:
    """Changes a widget as a user does."""
    canvas.page.evaluate(
        """([id, name, value]) => {
          const widget = app.graph.getNodeById(id).widgets.find(w => w.name === name);
          widget.value = value; widget.callback?.(value) }""",
        [node, name, value],
    )


def set_checkpoint(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """The same workflow on another checkpoint."""
    other: dict[str, Any] = json.loads(json.dumps(workflow))
    for node in other["nodes"]:
        if node["type"] == "JanusLoad":
            node["widgets_values"][0] = name
    return other


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_template_opens_runs_and_is_saved_as_it_was(canvas: Canvas, name: str) -> None:
    workflow = WORKFLOWS[name]
    canvas.open_template(name, len(workflow["nodes"]))
    assert canvas.messages() == []
    assert canvas.clashes() == []
    texts = nodes_of(workflow, SAYS)
    assert canvas.texts() == dict.fromkeys(texts, "")
    if name in RUNNABLE:
        assert canvas.run() == "execution_success"
        assert canvas.texts().keys() == texts.keys()
        assert all(text.strip() for text in canvas.texts().values())
        assert canvas.clipped() == []
        for node, kind in nodes_of(workflow, DRAWS).items():
            assert kind == "JanusAsk" or canvas.images_of(node) > 0
    saved = canvas.saved()
    before, values = values_of(workflow), values_of(saved)
    for place, value in values.items():
        drawn_anew = "randomize" in value  # its seed is another one after the run
        assert len(value) == len(before[place])
        assert drawn_anew or value == before[place]
    canvas.open(saved)
    assert values_of(canvas.saved()) == values


def test_template_browser_shows_what_came_out(canvas: Canvas) -> None:
    canvas.browse_templates("janus_")
    cards = canvas.page.locator("[data-testid^='template-workflow-janus_']")
    assert cards.count() >= 6  # more are drawn when one scrolls down
    for index in range(min(cards.count(), 6)):
        cards.nth(index).scroll_into_view_if_needed()
        card = cards.nth(index).element_handle()
        canvas.page.wait_for_function("card => card.querySelector('img')?.naturalWidth > 200", arg=card)
    cards.first.click()  # opens it, and closes the browser
    canvas.page.locator(".p-dialog").wait_for(state="hidden")


def test_cancel_stops_the_run_and_the_next_one_works(canvas: Canvas) -> None:
    canvas.open(WORKFLOWS["janus_text_to_image"])
    set_widget(canvas, 2, "batch_size", 256)
    canvas.queue()
    canvas.page.wait_for_function("() => app.graph.getNodeById(2).imgs?.length")  # half an image is there
    canvas.cancel()
    assert canvas.wait_for_end(seconds=30) == "execution_interrupted"
    assert all("interrupted" in message for message in canvas.messages())  # core says so
    canvas.dismiss()
    set_widget(canvas, 2, "batch_size", 1)
    assert canvas.run() == "execution_success"


def test_answer_streams_onto_the_node_stays_and_can_be_copied(canvas: Canvas) -> None:
    workflow = set_checkpoint(WORKFLOWS["janus_caption_image"], "janus-pro-tiny")
    canvas.open(workflow)
    (node,) = nodes_of(workflow, {"JanusUnderstand"})
    set_widget(canvas, int(node), "max_new_tokens", 300)
    assert canvas.run() == "execution_success"
    answer = canvas.texts()[node]
    streamed = canvas.page.evaluate("() => janus.texts")
    assert any(0 < len(text) < len(answer) for text in streamed)
    lines = answer.replace("\r\n", "\n").replace("\r", "\n")  # as text fields have them
    field = canvas.result_field(int(node))
    field.click()
    canvas.page.keyboard.type("x")  # read-only
    assert field.input_value() == lines
    canvas.page.keyboard.press("Control+a")
    canvas.page.keyboard.press("Control+c")
    assert canvas.page.evaluate("() => getSelection().toString()") == lines
    saved = [value for each in canvas.saved()["nodes"] for value in each.get("widgets_values") or ()]
    assert answer not in saved
    # A change is undone: the nodes are made anew, and what they said comes back.
    canvas.change_and_undo()
    assert canvas.texts()[node] == answer
    # Another run with everything as it was shows the same again, from the cache.
    canvas.page.evaluate("id => { app.graph.getNodeById(id).widgets.at(-1).value = '' }", int(node))
    assert canvas.texts()[node] == ""
    assert canvas.run() == "execution_success"
    assert canvas.texts()[node] == answer


def test_text_and_images_are_shown_by_the_newer_rendering(canvas: Canvas) -> None:
    workflow = WORKFLOWS["janus_caption_to_image"]
    canvas.configure("Comfy.VueNodes.Enabled", True)
    try:
        canvas.open(workflow)
        canvas.page.wait_for_selector("[data-node-id]")
        canvas.show_all()
        assert canvas.clashes() == []
        assert canvas.run() == "execution_success"
        (node,) = nodes_of(workflow, {"JanusUnderstand"})
        (drawing,) = nodes_of(workflow, {"JanusGenerate"})
        answer = canvas.texts()[node]
        assert answer.strip()
        fields = canvas.page.locator(f"[data-node-id='{node}'] textarea")
        shown = [fields.nth(index).input_value() for index in range(fields.count())]
        assert answer in shown
        assert canvas.page.locator(f"[data-node-id='{drawing}'] img").count() >= 1
    finally:
        canvas.configure("Comfy.VueNodes.Enabled", False)


def test_error_is_a_sentence_on_the_page_and_a_traceback_in_the_log(canvas: Canvas) -> None:
    workflow = WORKFLOWS["janus_score_images"]
    canvas.open(workflow)
    node = int(next(iter(nodes_of(workflow, {"JanusScore"}))))
    set_widget(canvas, node, "template", "Is it good?")
    before = len(canvas.server.log())
    assert canvas.run() == "execution_error"
    canvas.details_of_error()
    canvas.page.wait_for_selector("text=template must hold {description}")
    assert "Traceback" in canvas.server.log()[before:]
    assert canvas.is_red(node)
    canvas.dismiss()


def test_saved_image_opens_its_workflow_when_it_is_dropped(canvas: Canvas) -> None:
    workflow = WORKFLOWS["janus_text_to_image"]
    canvas.open(workflow)
    set_widget(canvas, 2, "prompt", "a blue ring")
    assert canvas.run() == "execution_success"
    files = sorted((canvas.server.base / "output").glob("*.png"), key=lambda path: path.stat().st_mtime)
    canvas.open(WORKFLOWS["janus_score_images"])
    canvas.drop(files[-1])
    canvas.page.wait_for_function("count => app.graph._nodes.length === count", arg=len(workflow["nodes"]))
    assert widget(canvas, 2, "prompt") == "a blue ring"


@pytest.mark.parametrize(("control", "step"), [("fixed", 0), ("increment", 1), ("decrement", -1)])
def test_seed_goes_on_as_its_control_says(canvas: Canvas, control: str, step: int) -> None:
    canvas.open(WORKFLOWS["janus_text_to_image"])
    set_widget(canvas, 2, "seed", 41)
    set_widget(canvas, 2, "control_after_generate", control)
    assert canvas.run() == "execution_success"
    assert widget(canvas, 2, "seed") == 41 + step


@pytest.mark.parametrize("kind", sorted(SAYS | DRAWS | {"JanusLoad"}))
def test_help_page_of_a_node_opens_with_its_picture(canvas: Canvas, kind: str) -> None:
    workflow = next(w for w in WORKFLOWS.values() if nodes_of(w, {kind}))
    canvas.open(workflow)
    canvas.help(int(next(iter(nodes_of(workflow, {kind})))))
    shown = "() => document.querySelector('.node-help-content img')?.naturalWidth > 200"
    canvas.page.wait_for_function(shown)
    assert canvas.page.locator(".node-help-content table").count() >= 2
