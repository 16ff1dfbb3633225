"""Templates as they open in the template browser, and after a run: readable, whole and apart."""

from __future__ import annotations

from typing import Any

import pytest
from support.workflows import DRAWS, NOTES, SAVES, SAYS, WORKFLOWS, read

from dev.browser.canvas import Canvas
from dev.comfyui.users import choices
from dev.comfyui.workflow import nodes_of, values_of

pytestmark = [pytest.mark.usefixtures("nothing_is_wrong"), pytest.mark.all_views]

# Classic rendering draws no text whose size on the screen is below 8 pixels; it has 14 at full size.
READABLE = 8 / 14
BARS = (50, 30)  # pixels at the left and at the top that the front end's bars cover
# Each front end and each rendering runs all templates once; the other views open them.
RUN_VIEWS = [("pinned", "classic", (1366, 768)), ("newest", "vue", (1366, 768))]
# These run in all views, since their nodes grow with their results: images beside texts, and several images.
GROWING = ["Ask for anything in words", "Edit part of an image"]

# The zoom, and the rectangle around all nodes on the page.
OPENED = """() => {
  const { scale, offset } = app.canvas.ds;
  const canvas = app.canvas.canvas.getBoundingClientRect();
  const boxes = app.graph._nodes.map((node) => {
    const element = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
    if (element) return [element.left, element.top, element.right, element.bottom];
    const [x, y, width, height] = node.getBounding();
    const [left, top] = [canvas.x + (x + offset[0]) * scale, canvas.y + (y + offset[1]) * scale];
    return [left, top, left + width * scale, top + height * scale];
  });
  const side = (index, pick) => pick(...boxes.map((box) => box[index]));
  return { scale, box: [side(0, Math.min), side(1, Math.min), side(2, Math.max), side(3, Math.max)] };
}"""


@pytest.mark.parametrize("name", WORKFLOWS)
def test_template_opens_whole_runs_and_is_saved_as_it_was(
    canvas: Canvas, name: str, request: pytest.FixtureRequest
) -> None:
    workflow = read(name)
    canvas.open_template(name, len(workflow["nodes"]))
    assert problems_on_opening(canvas) == []
    assert values_of(canvas.saved()) == values_of(workflow)
    texts = nodes_of(workflow, SAYS)
    assert canvas.texts() == dict.fromkeys(texts, "")
    if request.node.callspec.params["canvas"] not in RUN_VIEWS and name not in GROWING:
        return
    for chooser, widgets in choices(name, workflow).items():
        for key, value in widgets.items():
            canvas.set_widget(chooser, key, value)
    before = values_of(canvas.saved())
    assert canvas.run() == "execution_success"
    notes = nodes_of(workflow, NOTES)  # these nodes have a field only if they have something to say
    assert texts.keys() <= canvas.texts().keys() <= texts.keys() | notes.keys()
    assert all(text.strip() for text in canvas.texts().values())
    assert (canvas.clashes(), canvas.clipped()) == ([], [])
    for node, kind in nodes_of(workflow, DRAWS | SAVES).items():
        assert kind == "JanusAsk" or canvas.images_of(node) > 0
    saved = canvas.saved()
    values = values_of(saved)
    for node, value in values.items():
        randomized = "randomize" in value  # the seed changes after the run
        assert len(value) == len(before[node])
        assert randomized or value == before[node]
    canvas.open(saved)
    assert values_of(canvas.saved()) == values


def problems_on_opening(canvas: Canvas) -> list[Any]:
    """What is wrong with a template right after it was opened."""
    found: list[Any] = [*canvas.messages(), *canvas.clashes()]
    opened, window = canvas.page.evaluate(OPENED), canvas.page.viewport_size
    assert window is not None
    left, top, right, bottom = opened["box"]
    if opened["scale"] <= READABLE:
        found.append(f"zoom {opened['scale']:.2f}")
    if left < BARS[0] or top < BARS[1] or right > window["width"] or bottom > window["height"]:
        found.append(f"out of the window: {opened['box']}")
    return found + [f"clipped text: {title}" for title in canvas.clipped()]
