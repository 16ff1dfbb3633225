"""Templates as they open in the template browser: readable, whole and apart, in both renderings."""

from __future__ import annotations

from typing import Any

import pytest
from support.workflows import WORKFLOWS, read

from dev.browser.canvas import Canvas

pytestmark = [pytest.mark.usefixtures("nothing_is_wrong"), pytest.mark.all_views]

# Classic rendering draws no text whose size on the screen is below 8 pixels; it has 14 at full size.
READABLE = 8 / 14
BARS = (50, 30)  # pixels at the left and at the top that the front end's bars cover
# Nodes of these grow with their results: images beside texts, and several images.
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


def test_templates_open_readable_and_whole(canvas: Canvas) -> None:
    problems = {name: found for name in WORKFLOWS if (found := problems_of(canvas, name))}
    assert problems == {}


def problems_of(canvas: Canvas, name: str) -> list[Any]:
    """What is wrong with a template right after it was opened."""
    canvas.open_template(name, len(read(name)["nodes"]))
    found: list[Any] = [*canvas.messages(), *canvas.clashes()]
    opened, window = canvas.page.evaluate(OPENED), canvas.page.viewport_size
    assert window is not None
    left, top, right, bottom = opened["box"]
    if opened["scale"] <= READABLE:
        found.append(f"zoom {opened['scale']:.2f}")
    if left < BARS[0] or top < BARS[1] or right > window["width"] or bottom > window["height"]:
        found.append(f"out of the window: {opened['box']}")
    return found + [f"clipped text: {title}" for title in canvas.clipped()]


def test_nodes_stay_apart_and_texts_whole_after_the_run(canvas: Canvas) -> None:
    for name in GROWING:
        canvas.open_template(name, len(read(name)["nodes"]))
        assert canvas.run() == "execution_success"
        assert (canvas.clashes(), canvas.clipped()) == ([], []), name
