"""The pack in a browser, with the pinned front end and with the newest.

Without a browser, or without the newest front end, these tests are skipped with the reason; with
`JANUS_REQUIRE_BROWSER=1` a missing browser fails them.
"""

from __future__ import annotations

import json
import time

import pytest
from support.workflows import FORMER_VALUES, RENAMED, read
from support.workflows import WORKFLOWS as NAMES

from dev.browser.canvas import PACK, Canvas
from dev.comfyui.workflow import nodes_of, values_of

pytestmark = pytest.mark.usefixtures("nothing_is_wrong")

WORKFLOWS = {name: read(name) for name in NAMES}


def test_former_combo_values_are_shown_by_their_present_names(canvas: Canvas) -> None:
    workflow = json.loads(FORMER_VALUES.read_text(encoding="utf-8"))
    canvas.open(workflow)
    for node in nodes_of(workflow, {"JanusUnderstand"}):
        (former,) = set(values_of(workflow)[int(node)]) & RENAMED.keys()
        assert canvas.widget(int(node), "history") == RENAMED[former]
    assert canvas.run() == "execution_success"


def test_template_browser_shows_thumbnails(canvas: Canvas) -> None:
    canvas.browse_templates("")
    canvas.page.get_by_text(PACK).first.click()
    cards = canvas.page.locator("[data-testid^='template-workflow-']")
    assert cards.count() >= 6  # others appear on scrolling
    for index in range(min(cards.count(), 6)):
        cards.nth(index).scroll_into_view_if_needed()
        card = cards.nth(index).element_handle()
        canvas.page.wait_for_function("card => card.querySelector('img')?.naturalWidth > 200", arg=card)
    cards.first.click()  # opens it, and closes the browser
    canvas.page.locator(".p-dialog").wait_for(state="hidden")


def test_cancel_stops_the_run_and_the_next_one_works(canvas: Canvas) -> None:
    canvas.open(WORKFLOWS["Generate an image from text"])
    canvas.set_widget(2, "batch_size", 256)
    canvas.queue()
    canvas.page.wait_for_function("() => app.nodePreviewImages[2]?.length")  # a preview is shown
    canvas.cancel()
    assert canvas.wait_for_end(seconds=30) == "execution_interrupted"
    assert all("interrupted" in message for message in canvas.messages())  # a message of ComfyUI
    canvas.dismiss()
    canvas.set_widget(2, "batch_size", 1)
    assert canvas.run() == "execution_success"


def test_error_is_a_sentence_on_the_page_and_a_traceback_in_the_log(canvas: Canvas) -> None:
    workflow = WORKFLOWS["How well an image matches a text"]
    canvas.open(workflow)
    node = int(next(iter(nodes_of(workflow, {"JanusScore"}))))
    canvas.set_widget(node, "template", "Is it good?")
    before = len(canvas.server.log())
    assert canvas.run() == "execution_error"
    canvas.details_of_error()
    canvas.page.wait_for_selector("text=template must hold {description}")
    assert "Traceback" in canvas.server.log()[before:]
    assert canvas.is_red(node)
    canvas.dismiss()


def test_saved_image_opens_its_workflow_when_it_is_dropped(canvas: Canvas) -> None:
    workflow = WORKFLOWS["Generate an image from text"]
    canvas.open(workflow)
    canvas.set_widget(2, "prompt", "a blue ring")
    assert canvas.run() == "execution_success"
    files = sorted((canvas.server.base / "output").glob("*.png"), key=lambda path: path.stat().st_mtime)
    canvas.open(WORKFLOWS["How well an image matches a text"])
    canvas.drop(files[-1])
    canvas.page.wait_for_function("count => app.graph._nodes.length === count", arg=len(workflow["nodes"]))
    assert canvas.widget(2, "prompt") == "a blue ring"


def test_seed_of_a_greedy_answer_stays_when_a_node_is_added(canvas: Canvas) -> None:
    controls = canvas.page.evaluate("""() => Object.fromEntries(["JanusUnderstand", "JanusGenerate"].map(
      type => [type, LiteGraph.createNode(type).widgets
        .find(widget => widget.name === "control_after_generate").value]))""")
    assert controls == {"JanusUnderstand": "fixed", "JanusGenerate": "randomize"}


def test_seed_changes_as_its_control_says(canvas: Canvas) -> None:
    canvas.open(WORKFLOWS["Generate an image from text"])
    for control, step in (("fixed", 0), ("increment", 1), ("decrement", -1)):
        canvas.set_widget(2, "seed", 41)
        canvas.set_widget(2, "control_after_generate", control)
        assert canvas.run() == "execution_success"
        assert canvas.widget(2, "seed") == 41 + step


def test_waiting_lasts_until_the_server_has_answered(canvas: Canvas) -> None:
    canvas.page.route("**/slow", lambda route: (time.sleep(3), route.fulfill(body="an answer")))
    answer = canvas.page.evaluate("""async () => {
      let answer;
      fetch("/slow").then(response => response.text()).then(text => (answer = text));
      await janus.quiet();
      return answer;
    }""")
    canvas.page.unroute("**/slow")
    assert answer == "an answer"
