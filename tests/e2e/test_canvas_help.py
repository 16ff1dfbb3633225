"""Help pages, and combos in Chinese, in the front end."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Response

from dev.browser.canvas import HELP_PAGE, PACK, Canvas
from dev.comfyui.tree import REPO_ROOT

pytestmark = pytest.mark.usefixtures("nothing_is_wrong")

PAGES = REPO_ROOT / "web" / "docs"
KINDS = sorted(page.stem for page in PAGES.glob("*.md"))
SMALL = {"width": 1366, "height": 768}

# Parts of a help page that reach beyond its right edge, and the pictures that are shown, with their widths.
MEASURE = """page => {
  const edge = page.getBoundingClientRect().right + 1;
  const beyond = [...page.querySelectorAll("*")].filter(part => part.getBoundingClientRect().right > edge);
  const shown = [...page.querySelectorAll("img")].filter(image => image.getClientRects().length);
  return { width: page.clientWidth, beyond: beyond.map(part => part.outerHTML.slice(0, 80)),
    pictures: shown.map(image => [image.src, image.naturalWidth, image.clientWidth]) } }"""
LOADED = "page => [...page.querySelectorAll('img')].every(image => image.complete)"
# Where a widget is on the page, once its node is at the middle of the canvas.
PLACE = """async ([id, name]) => {
  janus.centre(id);
  await new Promise(resolve => setTimeout(resolve, 500));
  const node = app.graph.getNodeById(id), box = app.canvas.canvas.getBoundingClientRect();
  const { offset } = app.canvas.ds;
  const y = node.pos[1] + node.widgets.find(widget => widget.name === name).last_y + 10;
  return [box.x + node.pos[0] + node.size[0] / 2 + offset[0], box.y + y + offset[1]] }"""


def add(canvas: Canvas, kind: str) -> int:
    """Puts a new node of that kind onto an empty canvas."""
    create = """kind => { app.graph.clear(); const node = LiteGraph.createNode(kind);
      app.graph.add(node); return node.id }"""
    return int(canvas.page.evaluate(create, kind))


def speak(canvas: Canvas, language: str) -> None:
    """Changes the language, and closes the front end's messages about that."""
    canvas.configure("Comfy.Locale", language)
    canvas.settle()
    canvas.dismiss()


def title(kind: str, language: str) -> str:
    """The first line of a help page."""
    return (PAGES / kind / f"{language}.md").read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def measure(canvas: Canvas) -> dict[str, Any]:
    """What `MEASURE` finds on the help page that is open, once its pictures are loaded."""
    page = canvas.page.locator(HELP_PAGE).first.element_handle()
    canvas.page.wait_for_function(LOADED, arg=page)
    return dict(canvas.page.evaluate(MEASURE, page))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_pages_fit_the_side_panel_and_nothing_is_missing(canvas: Canvas, language: str) -> None:
    failed = []

    def note(response: Response) -> None:
        if response.status >= 400 and f"/extensions/{PACK}/" in response.url:
            failed.append(response.url)

    usual = canvas.page.viewport_size
    canvas.page.on("response", note)
    speak(canvas, language)
    try:
        canvas.page.set_viewport_size(SMALL)
        for kind in KINDS:
            canvas.help(add(canvas, kind), title(kind, language))
            found = measure(canvas)
            assert found["width"] < 300
            assert found["beyond"] == [], kind
            ((source, pixels, width),) = found["pictures"]
            assert f"/docs/pictures/{kind}.jpg" in source
            # A node is at most 400 units wide: its text of 14 units is at least 8 pixels high.
            assert pixels > 400
            assert width > 215
        assert failed == []
    finally:
        canvas.page.remove_listener("response", note)
        speak(canvas, "en")
        canvas.page.set_viewport_size(usual)


def test_image_of_a_help_page_matches_the_theme(canvas: Canvas) -> None:
    canvas.help(add(canvas, "JanusGenerate"))
    try:
        for theme, file in (("light", "JanusGenerate_light.jpg"), ("dark", "JanusGenerate.jpg")):
            canvas.configure("Comfy.ColorPalette", theme)
            assert [file in source for source, *_ in measure(canvas)["pictures"]] == [True], theme
    finally:
        canvas.configure("Comfy.ColorPalette", "dark")


def test_combos_show_chinese_and_keep_their_values(canvas: Canvas, request: pytest.FixtureRequest) -> None:
    speak(canvas, "zh")
    try:
        node = add(canvas, "JanusUnderstand")
        canvas.page.mouse.click(*canvas.page.evaluate(PLACE, [node, "task"]))
        canvas.page.locator(".litecontextmenu").get_by_text("识别文字").click()
        assert canvas.widget(node, "task") == "read the text"
        values = canvas.saved()["nodes"][0]["widgets_values"]
        assert "read the text" in values
        # Nodes 2.0 of front end 1.32 shows the values themselves, whatever their labels.
        if request.node.callspec.params["canvas"][0] == "newest":
            canvas.configure("Comfy.VueNodes.Enabled", True)
            canvas.page.locator(f"[data-node-id='{node}']").get_by_text("识别文字").first.wait_for()
    finally:
        canvas.configure("Comfy.VueNodes.Enabled", False)
        speak(canvas, "en")
