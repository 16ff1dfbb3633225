"""Runs the example workflows in a real browser and pictures them: `<name>.jpg` beside each `<name>.json`.

For maintainers, from `tests/`: `../.venv/bin/python -m bench.thumbnails`. Needs `playwright` from PyPI and a
Chromium (`CHROMIUM_PATH`, else the one on the PATH). Fails if a workflow does not load without a message.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import skimage.data
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from .demo import runnable
from .server import ComfyServer
from .tree import REPO_ROOT

CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
VIEW = (2000, 1250)
MARGINS = (90, 190, 30, 30)  # left, top, right, bottom: where the front end's own controls lie
THUMBNAIL = (720, 720)
HIDE = ".minimap-main-container, [class*='minimap'], .p-toast { display: none !important }"

# The image that workflows which cannot be run here name; ComfyUI brings one of that name.
PHOTOGRAPH = "example.png"

# Fits the graph between the margins; returns its rectangle on the page.
FIT = """([width, height, left, top, right, bottom]) => {
  const areas = app.graph._nodes.map(node => node.getBounding ? [...node.getBounding()] : []);
  const x0 = Math.min(...areas.map(a => a[0])), y0 = Math.min(...areas.map(a => a[1]));
  const x1 = Math.max(...areas.map(a => a[0] + a[2])), y1 = Math.max(...areas.map(a => a[1] + a[3]));
  const scale = Math.min((width - left - right) / (x1 - x0), (height - top - bottom) / (y1 - y0));
  const view = app.canvas.ds;
  const box = app.canvas.canvas.getBoundingClientRect();
  view.scale = scale;
  view.offset[0] = (left - box.x) / scale - x0;
  view.offset[1] = (top - box.y) / scale - y0;
  app.canvas.setDirty(true, true);
  return [left, top, left + (x1 - x0) * scale, top + (y1 - y0) * scale] }"""


def wait_until_idle(server: ComfyServer, seconds: float = 120) -> None:
    """Waits for the queue to empty."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        queue = server.client.get("/queue").json()
        if not queue["queue_running"] and not queue["queue_pending"]:
            return
        time.sleep(0.3)
    raise TimeoutError(f"the queue must be empty within {seconds:.0f} s, it still holds a run")


def picture(page: Page, server: ComfyServer, path: Path, run: bool) -> None:
    """Loads one workflow, runs it if it can be run here, and writes its thumbnail.

    Raises:
        RuntimeError: the front end showed a message while loading it.
    """
    page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(path.read_text(encoding="utf-8")))
    page.wait_for_timeout(1500)
    messages = page.locator(".p-toast-message-text, .p-dialog").all_inner_texts()
    if messages:
        raise RuntimeError(f"{path.name} must load without a message, got {messages}")
    if run:
        page.evaluate("() => app.queuePrompt(0)")
        page.wait_for_timeout(1000)
        wait_until_idle(server)
        page.wait_for_timeout(1500)
    box = page.evaluate(FIT, [*VIEW, *MARGINS])
    page.wait_for_timeout(1000)
    shot = path.with_suffix(".png")
    page.screenshot(path=shot)
    with Image.open(shot) as image:
        around = (box[0] - 12, box[1] - 12, box[2] + 12, box[3] + 12)
        thumbnail = image.convert("RGB").crop(tuple(round(side) for side in around))
    shot.unlink()
    thumbnail.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    thumbnail.save(path.with_suffix(".jpg"), quality=85, optimize=True)


def main() -> int:
    """Pictures every workflow."""
    folder = REPO_ROOT / "workflows"
    can_run = runnable(folder)
    with ComfyServer() as server, sync_playwright() as playwright:
        Image.fromarray(skimage.data.astronaut()).save(server.base / "input" / PHOTOGRAPH)
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM_PATH") or shutil.which("chromium"),
            args=[*CHROMIUM_FLAGS],
        )
        page = browser.new_page(viewport={"width": VIEW[0], "height": VIEW[1]})
        page.goto(server.url)
        page.wait_for_function("window.app?.graph && window.app?.canvas", timeout=60_000)
        page.add_style_tag(content=HIDE)
        page.wait_for_timeout(3000)
        for path in sorted(folder.glob("*.json")):
            picture(page, server, path, path.stem in can_run)
            sys.stdout.write(f"{path.with_suffix('.jpg')}\n")
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
