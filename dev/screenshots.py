"""Takes screenshots of the example workflows in a browser: `python3 tasks.py screenshots [NAME ...]`.

For each `workflows/<name>.json` it writes the thumbnail of the template browser (`workflows/<name>.jpg`): a
square with the results of a run, or, if it needs other checkpoints, with the first node that uses them and
what it needs. For the README it writes the canvas after one of the runs, dark and light. Needs a browser and
the newest front end from PyPI, with the settings and the window of users.
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
from .comfyui.users import DRAWINGS, add_dataset, add_models, draw_folder
from .comfyui.workflow import to_prompt
from .demo import runnable
from .help_pictures import VIEW as NODE_VIEW
from .help_pictures import photograph as photograph_node

WORKFLOWS = REPO_ROOT / "workflows"
GRAPHS = REPO_ROOT / "web" / "docs" / "graphs"
GOLDEN = REPO_ROOT / "tests" / "golden"
THEMES = {"": "dark", "_light": "light"}
VIEW = (1366, 768)
MARGIN, QUALITY = 12, 80

README_WORKFLOW, README_GRAPH = (
    "Caption an image and draw the caption",
    "caption_an_image_and_draw_the_caption",
)

# The browser shows a card at about 300 pixels.
CARD, CARD_GROUND, CARD_TEXT = (480, 480), (32, 32, 36), (236, 236, 236)
TEXT_SIZE, LINE, LETTERS, MAX_LINES, GAP = 38, 46, 23, 4, 12
TOP, FADE = 8, 60  # above the node in its picture; below the part of it that is shown
USES = {"JanusEdit", "JanusFlowSampler", "JanusThinkAndDraw", "JanusUnderstand"}
ANSWERS = {"JanusCaptionFolder", "JanusChoose", "JanusScore", "JanusThinkAndDraw", "JanusUnderstand"}


def card(images: list[Image.Image], texts: list[str]) -> Image.Image:
    """Draws a thumbnail: up to four images in a grid, texts below."""
    lines = [line for text in texts for part in text.split("\n") for line in textwrap.wrap(part, LETTERS)]
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = [
            textwrap.shorten(" ".join(lines[MAX_LINES - 1 :]), LETTERS, placeholder=" …")
        ]
    images = images[:4]
    result = Image.new("RGB", CARD, CARD_GROUND)
    width, height = CARD
    below = height - (LINE * len(lines) + GAP if lines else 0)
    columns = 1 if len(images) == 1 else 2
    rows = -(-len(images) // columns)
    for index, image in enumerate(images):
        cell = (width - GAP * (columns + 1)) / columns, (below - GAP * (rows + 1)) / max(rows, 1)
        scale = min(cell[0] / image.width, cell[1] / image.height)
        shown = image.resize(
            (round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS
        )
        left = GAP + (index % columns) * (cell[0] + GAP) + (cell[0] - shown.width) / 2
        top = GAP + (index // columns) * (cell[1] + GAP) + (cell[1] - shown.height) / 2
        result.paste(shown, (round(left), round(top)))
    pen, font = ImageDraw.Draw(result), ImageFont.load_default(TEXT_SIZE)
    first = below if images else (height - LINE * len(lines)) // 2
    for index, line in enumerate(lines):
        pen.text((width // 2, first + index * LINE), line, CARD_TEXT, font, anchor="ma")
    return result


def outcome(server: ComfyServer, workflow: dict[str, Any]) -> tuple[list[Image.Image], list[str]]:
    """Images (from left to right, without duplicates) and answers of a run."""
    result = server.client.run(to_prompt(workflow, server.client.object_info())).check()
    nodes = {
        str(node["id"]): node["type"] for node in sorted(workflow["nodes"], key=lambda node: node["pos"])
    }
    files = [file for node in nodes for file in result.images(node)]
    images = [Image.open(io.BytesIO(server.client.view(file))).convert("RGB") for file in files]
    images = list({image.tobytes(): image for image in images}.values())  # files differ by what they record
    answers = [node for node, kind in nodes.items() if kind in ANSWERS]
    return images, [text.strip() for node in answers for text in result.texts(node)]


def announcement(canvas: Canvas, name: str) -> Image.Image:
    """The thumbnail of a workflow that cannot run here: a node, and what it needs.

    The node is the one that the workflow names for this, or else the first that uses the model.
    """
    workflow = read(name)
    canvas.open(workflow)
    about = workflow["extra"]["janus"]
    using = [node["id"] for node in workflow["nodes"] if node["type"] in USES]
    node = about.get("card", using[0])
    task = name.rpartition(" - ")[2]
    texts = [task[0].upper() + task[1:], about["needs"]]
    canvas.page.set_viewport_size({"width": NODE_VIEW[0], "height": NODE_VIEW[1]})
    picture = photograph_node(canvas, node)
    canvas.page.set_viewport_size({"width": VIEW[0], "height": VIEW[1]})
    lines = sum(len(textwrap.wrap(text, LETTERS)) for text in texts)
    width, height = CARD[0] - 2 * GAP, CARD[1] - LINE * lines - 3 * GAP
    top = picture.crop((0, TOP, picture.width, TOP + height * picture.width // width))
    top.paste(CARD_GROUND, (0, top.height - FADE), Image.linear_gradient("L").resize((top.width, FADE)))
    return card([top], texts)


def readme_pictures(canvas: Canvas) -> None:
    """Writes the pictures of the README.

    Raises:
        RuntimeError: the run fails, or the canvas shows messages, overlaps or clipped text.
    """
    canvas.server.client.free()  # nodes that are cached from the thumbnail's run would show no text
    canvas.open(read(README_WORKFLOW))
    if (end := canvas.run()) != "execution_success":
        raise RuntimeError(f"{README_WORKFLOW} must run to its end, got {end}")
    if problems := [*canvas.messages(), *canvas.errors, *canvas.clashes(), *canvas.clipped()]:
        raise RuntimeError(f"the README's graph must be free of messages, overlaps and cuts, got {problems}")
    for suffix, theme in THEMES.items():
        canvas.configure("Comfy.ColorPalette", theme)
        photograph(canvas).save(GRAPHS / f"{README_GRAPH}{suffix}.jpg", quality=QUALITY, optimize=True)
    canvas.configure("Comfy.ColorPalette", "dark")


def read(name: str) -> dict[str, Any]:
    """The workflow of that name."""
    return dict(json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8")))


def photograph(canvas: Canvas) -> Image.Image:
    """Takes a screenshot of the graph, cropped to its nodes."""
    with tempfile.TemporaryDirectory() as folder:
        left, top, right, bottom = canvas.picture(Path(folder) / "page.png")
        with Image.open(Path(folder) / "page.png") as page:
            around = (left - MARGIN, top - 2 * MARGIN, right + MARGIN, bottom + MARGIN)
            graph = page.convert("RGB").crop(tuple(round(side) for side in around))
    return graph


def main(names: list[str]) -> int:
    """Takes screenshots of the named workflows, or of all."""
    paths = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
    if unknown := set(names) - set(paths):
        raise SystemExit(
            f"names must be of workflows, got {', '.join(unknown)}; choose from {', '.join(paths)}"
        )
    can_run = runnable(WORKFLOWS)
    server = ComfyServer(arguments=("--front-end-root", str(front_end())))
    add_dataset(server)
    draw_folder(server.base / "input" / DRAWINGS)
    add_models(server, GOLDEN)
    with server, open_canvas(server, VIEW) as canvas:
        canvas.configure("Comfy.Graph.CanvasInfo", False)
        canvas.configure("Comfy.Graph.CanvasMenu", False)
        for name in names or paths:
            thumbnail = card(*outcome(server, read(name))) if name in can_run else announcement(canvas, name)
            thumbnail.save(WORKFLOWS / f"{name}.jpg", quality=QUALITY, optimize=True)
            sys.stdout.write(f"{name}\n")
            sys.stdout.flush()
            if name == README_WORKFLOW:
                readme_pictures(canvas)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
