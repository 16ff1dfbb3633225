"""Takes the pictures of nodes on their help pages: `python3 tasks.py help-pictures [NODE ...]`.

Each shows one node with the results of a run, dark and light (`web/docs/pictures/<node>.jpg` and
`<node>_light.jpg`), narrow enough to be read in the side panel of the front end, where a graph could not.
Needs a browser and the newest front end from PyPI.
"""

from __future__ import annotations

import io
import json
import sys

from PIL import Image

from .browser.canvas import Canvas
from .browser.open import open_canvas
from .comfyui.server import ComfyServer
from .comfyui.tree import REPO_ROOT, front_end
from .comfyui.users import add_dataset, add_models
from .demo import runnable

WORKFLOWS = REPO_ROOT / "workflows"
PICTURES = REPO_ROOT / "web" / "docs" / "pictures"
GOLDEN = REPO_ROOT / "tests" / "golden"
THEMES = {"": "dark", "_light": "light"}
# The side panel's text is about 240 pixels wide: nodes of these widths are scaled by 0.8 and 0.6.
LEAST_WIDTH, MOST_WIDTH = 300, 400
SCALE, MARGIN, TITLE, QUALITY = 1.6, 8, 58, 82
VIEW = (1400, 1800)
ADAPTER = "my_style"  # in the list of Janus LoRA

# Shows one node alone at the middle of the canvas, wide enough for its labels and values; returns its
# rectangle there: left, top, width, height.
ISOLATE = """([id, least, most, scale, more]) => {
  const node = app.graph.getNodeById(id);
  node.flags.collapsed = false;
  node.title = node.constructor.title;
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${LiteGraph.NODE_TEXT_SIZE}px ${LiteGraph.NODE_FONT}`;
  const needs = (widget) => pen.measureText(`${widget.label ?? widget.name} ${widget.value}`).width + 80;
  const lines = (node.widgets ?? []).filter((widget) => !widget.element);
  const width = Math.min(Math.max(least, ...lines.map(needs)), most);
  node.setSize([width, node.computeSize([width, 0])[1] + more]);
  node.pos = [20000, 20000];  // away from the others
  janus.centre(id, scale);
  const box = app.canvas.canvas.getBoundingClientRect();
  const [x, y] = node.pos.map((at, axis) => (at + app.canvas.ds.offset[axis]) * scale);
  return [box.x + x, box.y + y, node.size[0] * scale, node.size[1] * scale];
}"""

# By how much a node must be higher for its text fields, which grow alike, to show all of their texts.
HIDDEN = """id => {
  const elements = app.graph.getNodeById(id).widgets?.map(({ element }) => element) ?? [];
  const fields = elements.filter((element) => element?.tagName === "TEXTAREA");
  return fields.length * Math.max(0, ...fields.map((field) => field.scrollHeight - field.clientHeight));
}"""


def example(kind: str) -> str | None:
    """The smallest workflow with a node of that kind, or None.

    One that runs as it is comes before others, and one that draws the same in each run before those.
    """
    names = {}
    for path in sorted(WORKFLOWS.glob("*.json")):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        if own := [node for node in nodes if node["type"] == kind]:
            random = "randomize" in own[0].get("widgets_values", ())
            names[path.stem] = (path.stem not in runnable(WORKFLOWS), random, len(nodes))
    return min(names, key=lambda name: names[name], default=None)


def show(canvas: Canvas, kind: str) -> int:
    """Brings a node of that kind onto the canvas, with results if its example runs; returns its id."""
    name = example(kind)
    if name is None:
        create = """kind => { app.graph.clear(); const node = LiteGraph.createNode(kind);
          app.graph.add(node); return node.id }"""
        return int(canvas.page.evaluate(create, kind))
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    canvas.open(workflow)
    if name in runnable(WORKFLOWS) and (end := canvas.run()) != "execution_success":
        raise RuntimeError(f"{name} must run to its end, got {end}")
    return int(next(node["id"] for node in workflow["nodes"] if node["type"] == kind))


def photograph(canvas: Canvas, node: int) -> Image.Image:
    """Takes a screenshot of one node."""
    more = 0
    for _ in range(2):
        place = [node, LEAST_WIDTH, MOST_WIDTH, SCALE, more]
        left, top, width, height = canvas.page.evaluate(ISOLATE, place)
        canvas.page.wait_for_timeout(1000)
        more = canvas.page.evaluate(HIDDEN, node)
    canvas.page.evaluate("() => app.canvas.draw(true, true)")  # labels follow their fields one drawing later
    canvas.page.wait_for_timeout(200)
    area = (left - MARGIN, top - TITLE, left + width + MARGIN, top + height + MARGIN)
    with Image.open(io.BytesIO(canvas.page.screenshot())) as page:
        return page.convert("RGB").crop(tuple(round(side) for side in area))


def main(kinds: list[str]) -> int:
    """Takes the pictures of the named nodes, or of all."""
    pages = sorted(path.stem for path in (REPO_ROOT / "web" / "docs").glob("*.md"))
    if unknown := set(kinds) - set(pages):
        raise SystemExit(
            f"nodes must have a help page, got {', '.join(unknown)}; choose from {', '.join(pages)}"
        )
    PICTURES.mkdir(exist_ok=True)
    server = ComfyServer(arguments=("--front-end-root", str(front_end())))
    add_dataset(server)
    add_models(server, GOLDEN)
    adapter = server.base / "models" / "janus_loras" / ADAPTER
    adapter.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).touch()
    with server, open_canvas(server, VIEW) as canvas:
        canvas.configure("Comfy.Graph.CanvasInfo", False)
        canvas.configure("Comfy.Graph.CanvasMenu", False)
        canvas.configure("Comfy.Canvas.SelectionToolbox", False)
        canvas.configure("Comfy.NodeBadge.NodeSourceBadgeMode", "None")
        for kind in kinds or pages:
            node = show(canvas, kind)
            for suffix, theme in THEMES.items():
                canvas.configure("Comfy.ColorPalette", theme)
                photograph(canvas, node).save(
                    PICTURES / f"{kind}{suffix}.jpg", quality=QUALITY, optimize=True, progressive=True
                )
            canvas.configure("Comfy.ColorPalette", "dark")
            sys.stdout.write(f"{kind}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
