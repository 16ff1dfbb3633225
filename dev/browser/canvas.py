"""ComfyUI's front end in a browser page: what users see and do there."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Error, Locator, Page

from ..comfyui.server import ComfyServer

VIEW = (1600, 1000)
ACTION_SECONDS, RUN_SECONDS = 30, 120
PACK = "janus-nodes"
SCRIPT = Path(__file__).with_name("canvas.js")

# In old front ends the button is inside the marked element, in new ones it is the element.
RUN_BUTTON = "button[data-testid='queue-button'], [data-testid='queue-button'] button"

HELP_PAGE = ".node-help-content"
HELP_BUTTON = "[data-testid='info-button'], [aria-label='Node Info']"

EMPTY = {"nodes": [], "links": [], "last_node_id": 0, "last_link_id": 0, "version": 0.4}
SAVED_VIEW = {"scale": 0.5, "offset": [200, 200]}
MARGINS = (90, 190, 30, 30)  # left, top, right, bottom, in pixels
ASIDE = (400, 120)  # a position where nothing opens under the pointer


class Canvas:
    """The front end in a page.

    Attributes:
        page: the page.
        server: the server that serves it.
        errors: uncaught exceptions and console errors from the pack's own files.
    """

    def __init__(self, page: Page, server: ComfyServer) -> None:
        self.page, self.server = page, server
        self.errors: list[str] = []
        page.set_default_timeout(ACTION_SECONDS * 1000)
        page.on("console", self._note)
        page.on("pageerror", self._note_uncaught)
        page.goto(server.url, timeout=RUN_SECONDS * 1000)  # a busy machine takes long
        self._wait_for_front_end()
        if self.errors:
            raise RuntimeError(f"the pack's scripts must load without an error, got {self.errors}")

    def _wait_for_front_end(self) -> None:
        ready = "window.app?.graph && window.app?.canvas && window.app?.extensionManager"
        self.page.wait_for_function(ready, timeout=RUN_SECONDS * 1000)
        self.page.evaluate(SCRIPT.read_text(encoding="utf-8"))
        self.settle()

    def settle(self) -> None:
        """Waits until the page is quiet: all that followed from the last action has happened."""
        self.page.evaluate("() => janus.quiet()")

    def _note(self, message: ConsoleMessage) -> None:
        ours, place = f"/extensions/{PACK}/", message.location.get("url", "")
        # The front end requests a help page in the user's language first, and then the general one.
        if message.type == "error" and not place.endswith(".md") and (ours in place or ours in message.text):
            self.errors.append(message.text)

    def _note_uncaught(self, error: Error) -> None:
        stack = str(error.stack or error)
        if f"/extensions/{PACK}/" in stack:  # front ends have faults of their own
            self.errors.append(stack)

    def configure(self, name: str, value: object) -> None:
        """Changes one of the front end's settings."""
        self.page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
        self.settle()

    def show_as(self, rendering: str, size: tuple[int, int]) -> None:
        """Sets the rendering, 'classic' or 'vue', and the page's size; leaves an empty workflow open."""
        self.open(EMPTY)
        self.page.evaluate("() => janus.closeOthers()")
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.configure("Comfy.VueNodes.Enabled", rendering == "vue")

    def open(self, workflow: dict[str, Any]) -> None:
        """Opens a workflow as if its file were opened.

        Files hold the view in which they were saved. Without one, front end 1.32 zooms to fit while it lays
        out Vue nodes, and takes their positions on the page, at the former zoom, for ones at the new zoom.
        """
        extra = {"ds": SAVED_VIEW, **workflow.get("extra", {})}
        self.page.evaluate("workflow => app.loadGraphData(workflow)", {**workflow, "extra": extra})
        self._wait_for_nodes(len(workflow["nodes"]))

    def open_template(self, name: str, nodes: int) -> None:
        """Opens one of the pack's templates, in the way of the template browser after a click on its card."""
        self.page.evaluate("([pack, name]) => janus.openTemplate(pack, name)", [PACK, name])
        self._wait_for_nodes(nodes)

    def browse_templates(self, words: str) -> None:
        """Opens the template browser and searches it."""
        self.command("Comfy.BrowseTemplates")
        self.page.locator("input[placeholder*='earch']").last.fill(words)
        self.settle()

    def drop(self, file: Path) -> None:
        """Drops an image file onto the canvas."""
        data = base64.b64encode(file.read_bytes()).decode()
        self.page.evaluate("([name, data]) => janus.drop(name, data)", [file.name, data])

    def _wait_for_nodes(self, count: int) -> None:
        self.page.wait_for_function("count => app.graph._nodes.length === count", arg=count)
        self.settle()  # messages about missing nodes or models appear later

    def queue(self) -> None:
        """Clicks Run."""
        self.page.evaluate("() => janus.forget()")
        # The tab under the pointer shows a preview, which can cover the button.
        self.page.mouse.move(*ASIDE)
        self.page.locator(RUN_BUTTON).first.click()

    def cancel(self) -> None:
        """Clicks the button that cancels the current run."""
        self.page.locator("[aria-label='Cancel current run']").first.click()

    def command(self, name: str) -> None:
        """Executes a command of the front end."""
        self.page.evaluate("name => app.extensionManager.command.execute(name)", name)

    def wait_for_progress(self, node: int) -> None:
        """Waits until a node has reported its first step."""
        self.page.wait_for_function("id => janus.progress.has(String(id))", arg=node)

    def wait_for_end(self, seconds: float = RUN_SECONDS) -> str:
        """Waits for the run's end: 'execution_success', 'execution_error' or 'execution_interrupted'."""
        self.page.wait_for_function("() => janus.runs.length", timeout=seconds * 1000)
        self.settle()  # until the last nodes have shown their results
        return str(self.page.evaluate("() => janus.runs[0]"))

    def run(self) -> str:
        """Clicks Run and waits for the end."""
        self.queue()
        return self.wait_for_end()

    def messages(self) -> list[str]:
        """Texts of the toasts and dialogs on the page."""
        return self.page.locator(
            ".p-toast-message-text, .p-dialog, [data-testid='error-overlay']"
        ).all_inner_texts()

    def details_of_error(self) -> None:
        """Shows the message of an error, which new front ends hide behind a button."""
        button = self.page.get_by_text("View details")
        if button.count():
            button.first.click()

    def texts(self) -> dict[str, str]:
        """Contents of the result fields of the pack's nodes, by node id."""
        return dict(
            self.page.evaluate("""() => app.graph._nodes.flatMap(node =>
              (node.widgets ?? []).filter(widget => widget.name === "result")
                .map(widget => [String(node.id), widget.value]))""")
        )

    def widget(self, node: int, name: str) -> Any:
        """The value of a widget."""
        return self.page.evaluate("([id, name]) => janus.widget(id, name).value", [node, name])

    def set_widget(self, node: int, name: str, value: object) -> None:
        """Changes a widget as a user does."""
        self.page.evaluate("([id, name, value]) => janus.setWidget(id, name, value)", [node, name, value])

    def result_field(self, node: int) -> Locator:
        """The result field of a node, scrolled into view."""
        self._centre(node)
        self.page.evaluate("id => janus.widget(id, 'result').element.dataset.result = id", node)
        return self.page.locator(f"[data-result='{node}']")

    def help(self, node: int, title: str | None = None) -> None:
        """Opens the help page of a node with the button above it; its title is by default the node's."""
        self._centre(node, scale=0.6)  # the button above a tall node is in view as well
        self.page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", node)
        self.page.locator(HELP_BUTTON).first.click()
        title = title or self.page.evaluate("id => app.graph.getNodeById(id).constructor.title", node)
        self.page.locator(HELP_PAGE).locator("h1", has_text=title).first.wait_for()

    def _centre(self, node: int, scale: float = 1.0) -> None:
        self.page.evaluate("([id, scale]) => janus.centre(id, scale)", [node, scale])
        self.settle()

    def show_all(self) -> tuple[float, float, float, float]:
        """Brings the whole graph into view; returns its rectangle: left, top, right, bottom."""
        size = self.page.viewport_size or {"width": VIEW[0], "height": VIEW[1]}
        area = [size["width"], size["height"], *MARGINS]
        left, top, right, bottom = self.page.evaluate("area => janus.fit(area)", area)
        self.settle()
        return left, top, right, bottom

    def dismiss(self) -> None:
        """Closes toasts and dialogs."""
        closers = ".p-toast-close-button, .p-dialog-close-button"
        self.page.evaluate("names => document.querySelectorAll(names).forEach(b => b.click())", closers)
        self.page.keyboard.press("Escape")
        self.settle()

    def shows_images(self, node: int, count: int) -> None:
        """Waits until a node shows this many images, which are its output."""
        self.page.wait_for_function("([id, count]) => janus.shows(id, count)", arg=[node, count])

    def reload(self) -> None:
        """Loads the page again, as with the browser's button."""
        self.page.wait_for_timeout(1000)  # the front end keeps a draft of the workflow from time to time
        self.page.reload(timeout=RUN_SECONDS * 1000)
        self._wait_for_front_end()

    def images_of(self, node: str) -> int:
        """How many finished images a node shows."""
        return int(self.page.evaluate("id => app.nodeOutputs[id]?.images?.length ?? 0", node))

    def change_and_undo(self) -> None:
        """Renames a node and undoes it."""
        self.page.evaluate("() => { app.graph._nodes[0].title = 'changed'; janus.remember() }")
        self.command("Comfy.Undo")
        self.page.wait_for_function("() => app.graph._nodes.every(node => node.title !== 'changed')")

    def stop(self) -> None:
        """Cancels runs and closes dialogs that a test has left."""
        self.server.client.interrupt()
        self.server.client.wait_until_idle()
        self.dismiss()

    def is_red(self, node: int) -> bool:
        """Whether a node is marked as failed."""
        return bool(self.page.evaluate("id => String(app.lastExecutionError?.node_id) === String(id)", node))

    def clashes(self) -> list[list[str]]:
        """Pairs of nodes that still overlap when the front end has had time to lay them out."""
        return list(self.page.evaluate("() => janus.clashes()"))

    def clipped(self) -> list[str]:
        """Titles of nodes whose text fields or notes do not show all of their text."""
        return list(self.page.evaluate("() => janus.clipped()"))

    def saved(self) -> dict[str, Any]:
        """The workflow in the form in which it would be saved."""
        return dict(self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))"))

    def picture(self, path: Path) -> tuple[float, float, float, float]:
        """Takes a screenshot of the whole graph; returns the graph's rectangle in it."""
        box = self.show_all()
        self.page.screenshot(path=path)
        return box
