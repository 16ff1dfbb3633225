"""A real browser on a real server's front end: what a user sees and does.

The browser is a Chromium or Chrome of the machine: the one that `CHROMIUM_PATH` names, or one on the PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from .server import ComfyServer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
VIEW = (1600, 1000)
START_SECONDS, RUN_SECONDS = 120, 180
PACK = "janus-nodes"

# In old front ends a button within the marked element, in new ones the element itself.
RUN_BUTTON = "button[data-testid='queue-button'], [data-testid='queue-button'] button"

# What covers the canvas and is not part of it.
HIDDEN = "[class*='minimap'], .p-toast, .p-message { visibility: hidden !important }"

# Notes how each run ends, and what streams onto nodes.
LISTEN = """() => {
  window.janusRuns = []; window.janusTexts = [];
  const { api } = window.comfyAPI.api;
  for (const end of ["execution_success", "execution_error", "execution_interrupted"])
    api.addEventListener(end, () => window.janusRuns.push(end));
  api.addEventListener("janus.text", ({ detail }) => window.janusTexts.push(detail.text));
}"""

# Fits the graph into the part of the page that the front end's own controls leave free: its rectangle there.
FIT = """([width, height, left, top, right, bottom]) => {
  const areas = app.graph._nodes.map(node => [...node.getBounding()]);
  const x0 = Math.min(...areas.map(a => a[0])), y0 = Math.min(...areas.map(a => a[1]));
  const x1 = Math.max(...areas.map(a => a[0] + a[2])), y1 = Math.max(...areas.map(a => a[1] + a[3]));
  const scale = Math.min((width - left - right) / (x1 - x0), (height - top - bottom) / (y1 - y0), 1);
  const view = app.canvas.ds;
  const box = app.canvas.canvas.getBoundingClientRect();
  view.scale = scale;
  view.offset[0] = (left - box.x) / scale - x0;
  view.offset[1] = (top - box.y) / scale - y0;
  app.canvas.setDirty(true, true);
  return [left, top, left + (x1 - x0) * scale, top + (y1 - y0) * scale] }"""
MARGINS = (90, 190, 30, 30)  # left, top, right, bottom, in pixels


def find_browser() -> str | None:
    """Returns the executable, or None if there is none.

    Raises:
        ValueError: `CHROMIUM_PATH` is set but names no file.
    """
    own = os.environ.get("CHROMIUM_PATH")
    if own and not Path(own).is_file():
        raise ValueError(f"CHROMIUM_PATH must be a browser's executable, got '{own}'; correct it or unset it")
    return own or next(filter(None, map(shutil.which, BROWSERS)), None)


class Canvas:
    """The front end, open in a page.

    Attributes:
        page: the page.
        server: what it talks to.
        errors: uncaught exceptions, and errors in the console that the pack's own files raise.
    """

    def __init__(self, page: Page, server: ComfyServer) -> None:
        self.page, self.server = page, server
        self.errors: list[str] = []
        page.set_default_timeout(START_SECONDS * 1000)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error.stack or error)))
        page.goto(server.url)
        page.wait_for_function("window.app?.graph && window.app?.canvas && window.app?.extensionManager")
        page.add_style_tag(content=HIDDEN)
        page.evaluate(LISTEN)

    def _note(self, message: ConsoleMessage) -> None:
        ours = f"/extensions/{PACK}/"
        if message.type == "error" and (ours in message.location.get("url", "") or ours in message.text):
            self.errors.append(message.text)

    def set(self, name: str, value: object) -> None:
        """Changes one of the front end's settings."""
        self.page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
        self.page.wait_for_timeout(500)

    def open(self, workflow: dict[str, Any]) -> None:
        """Opens a workflow as the front end opens a file of one."""
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self._settle(len(workflow["nodes"]))

    def open_template(self, name: str, nodes: int) -> None:
        """Opens one of the pack's templates through the template browser, as a user does."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        search = self.page.locator("input[placeholder*='earch']").last
        search.fill(name)
        self.page.locator(f"[data-testid='template-workflow-{name}']").first.click()
        self._settle(nodes)

    def _settle(self, nodes: int) -> None:
        self.page.wait_for_function("count => app.graph._nodes.length === count", arg=nodes)
        self.page.wait_for_timeout(700)  # messages about what is missing come a little later

    def queue(self) -> None:
        """Presses Run."""
        self.page.evaluate("() => { window.janusRuns = []; window.janusTexts = [] }")
        self.page.locator(RUN_BUTTON).first.click()

    def wait_for_end(self, seconds: float = RUN_SECONDS) -> str:
        """Waits for the run's end: 'execution_success', 'execution_error' or 'execution_interrupted'."""
        self.page.wait_for_function("() => window.janusRuns.length", timeout=seconds * 1000)
        self.page.wait_for_timeout(500)  # what the last nodes show
        return str(self.page.evaluate("() => window.janusRuns[0]"))

    def run(self) -> str:
        """Presses Run and waits for the end."""
        self.queue()
        return self.wait_for_end()

    def messages(self) -> list[str]:
        """Toasts and dialogs that stand on the page."""
        return self.page.locator(".p-toast-message-text, .p-dialog").all_inner_texts()

    def texts(self) -> dict[str, str]:
        """What stands in the text fields of the pack's nodes, by node id."""
        return dict(
            self.page.evaluate("""() => app.graph._nodes.flatMap(node =>
              (node.widgets ?? []).filter(widget => widget.name === "result")
                .map(widget => [String(node.id), widget.value]))""")
        )

    def saved(self) -> dict[str, Any]:
        """The workflow as it would be saved."""
        return dict(self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))

    def picture(self, path: Path) -> tuple[float, float, float, float]:
        """Writes a screenshot with the whole graph in it; returns the graph's rectangle there."""
        box = self.page.evaluate(FIT, [*VIEW, *MARGINS])
        self.page.wait_for_timeout(1000)
        self.page.screenshot(path=path)
        left, top, right, bottom = box
        return left, top, right, bottom


@contextmanager
def open_canvas(server: ComfyServer) -> Iterator[Canvas]:
    """Opens a server's front end in a fresh browser, which is closed at the end.

    Raises:
        FileNotFoundError: the machine has no browser.
    """
    executable = find_browser()
    if executable is None:
        raise FileNotFoundError(
            f"a browser must be on the PATH, one of {', '.join(BROWSERS)}; install one or set CHROMIUM_PATH"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS])
        try:
            yield Canvas(browser.new_page(viewport={"width": VIEW[0], "height": VIEW[1]}), server)
        finally:
            browser.close()
