"""Takes screenshots of the example workflows in a browser: `python3 tasks.py screenshots [NAME ...]`.

For each `workflows/<name>.json` it writes the thumbnail of the template browser with the results of a run
(`workflows/<name>.jpg`), and the canvas after the run, dark and light, for the README
(`web/docs/graphs/<graph name>.jpg`, `<graph name>_light.jpg`). Workflows that need other checkpoints are not
run; their thumbnail shows the canvas. Needs a browser and the newest front end from PyPI. Fails on messages,
errors, overlapping nodes and clipped text.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .browser.canvas import Canvas
from .browser.open import open_canvas
from .comfyui.server import ComfyServer
from .comfyui.tree import REPO_ROOT, front_end
from .comfyui.users import add_dataset, add_models
from .comfyui.workflow import graph_name
from .demo import runnable

WORKFLOWS = REPO_ROOT / "workflows"
GRAPHS = REPO_ROOT / "web" / "docs" / "graphs"
GOLDEN = REPO_ROOT / "tests" / "golden"
THEMES = {"": "dark", "_light": "light"}
VIEW = (2400, 1600)
GRAPH_WIDTH, MARGIN, QUALITY = 1200, 12, 80

CARD, CARD_GROUND, CARD_TEXT = (640, 480), (32, 32, 36), (236, 236, 236)
TEXT_SIZE, LINE, LETTERS, MAX_LINES = 26, 36, 44, 5


def card(images: list[Image.Image], texts: list[str]) -> Image.Image:
    """Draws a thumbnail: images side by side, texts below."""
    lines = [line for text in texts for part in text.split("\n") for line in textwrap.wrap(part, LETTERS)]
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = [
            textwrap.shorten(" ".join(lines[MAX_LINES - 1 :]), LETTERS, placeholder=" …")
        ]
    result = Image.new("RGB", CARD, CARD_GROUND)
    width, height = CARD
    below = height - (LINE * len(lines) + 24 if lines else 0)
    side = min(width // max(len(images), 1), below) - 24
    left = (width - len(images) * (side + 16) + 16) // 2
    for index, image in enumerate(images):
        scale = side / max(image.size)
        shown = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
        )
        result.paste(shown, (left + index * (side + 16), (below - shown.height) // 2))
    pen, font = ImageDraw.Draw(result), ImageFont.load_default(TEXT_SIZE)
    top = below if images else (height - LINE * len(lines)) // 2
    for index, line in enumerate(lines):
        pen.text((28, top + index * LINE), line, CARD_TEXT, font)
    return result


def outcome(canvas: Canvas) -> tuple[list[Image.Image], list[str]]:
    """Images (from left to right, without duplicates) and texts that the run has shown, but not loading."""
    shown: list[dict[str, Any]] = canvas.page.evaluate("""() => [...app.graph._nodes]
      .sort((a, b) => a.pos[0] - b.pos[0] || a.pos[1] - b.pos[1])
      .map(({ id, type }) => ({ type, ends: /^(Save|Preview)Image$/.test(type), ...app.nodeOutputs[id] }))""")
    files = [file for output in shown if output["ends"] for file in output.get("images") or ()]
    pictures = dict.fromkeys(canvas.server.client.view(file) for file in files)
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
    answers = [output for output in shown if output["type"] != "JanusLoad"]
    return images, [text.strip() for output in answers for text in output.get("text") or ()]


def picture(canvas: Canvas, name: str, workflow: dict[str, Any], run: bool) -> None:
    """Writes the images of one workflow.

    Raises:
        RuntimeError: the run fails, or the canvas shows messages, overlaps or clipped text.
    """
    canvas.open(workflow)
    if run and (end := canvas.run()) != "execution_success":
        raise RuntimeError(f"{name} must run to its end, got {end}")
    if problems := [*canvas.messages(), *canvas.errors, *canvas.clashes(), *canvas.clipped()]:
        raise RuntimeError(f"{name} must be free of messages, overlaps and clipped text, got {problems}")
    for suffix, theme in THEMES.items():
        canvas.configure("Comfy.ColorPalette", theme)
        photograph(canvas).save(GRAPHS / f"{graph_name(name)}{suffix}.jpg", quality=QUALITY, optimize=True)
    canvas.configure("Comfy.ColorPalette", "dark")
    needs = workflow.get("extra", {}).get("janus", {}).get("needs")
    thumbnail = card(*outcome(canvas)) if run else card([photograph(canvas)], [needs])
    thumbnail.thumbnail(CARD, Image.Resampling.LANCZOS)
    thumbnail.save(WORKFLOWS / f"{name}.jpg", quality=85, optimize=True)


def photograph(canvas: Canvas) -> Image.Image:
    """Takes a screenshot of the graph, cropped to its nodes."""
    with tempfile.TemporaryDirectory() as folder:
        left, top, right, bottom = canvas.picture(Path(folder) / "page.png")
        with Image.open(Path(folder) / "page.png") as page:
            around = (left - MARGIN, top - 2 * MARGIN, right + MARGIN, bottom + MARGIN)
            graph = page.convert("RGB").crop(tuple(round(side) for side in around))
    graph.thumbnail((GRAPH_WIDTH, GRAPH_WIDTH), Image.Resampling.LANCZOS)
    return graph


def main(names: list[str]) -> int:
    """Takes screenshots of the named workflows, or of all."""
    paths = {path.stem: path for path in sorted(WORKFLOWS.glob("*.json"))}
    if unknown := set(names) - set(paths):
        raise SystemExit(
            f"names must be of workflows, got {', '.join(unknown)}; choose from {', '.join(paths)}"
        )
    GRAPHS.mkdir(exist_ok=True)
    can_run = runnable(WORKFLOWS)
    arguments = ("--front-end-root", str(front_end()))
    server = ComfyServer(arguments=arguments)
    add_dataset(server)
    add_models(server, GOLDEN)
    with server, open_canvas(server, VIEW) as canvas:
        canvas.configure("LiteGraph.Canvas.MinFontSizeForLOD", 0)  # draw text at any zoom
        canvas.configure("Comfy.Graph.CanvasInfo", False)
        canvas.configure("Comfy.Graph.CanvasMenu", False)
        for name in names or paths:
            workflow = json.loads(paths[name].read_text(encoding="utf-8"))
            picture(canvas, name, workflow, name in can_run)
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
