"""What a newcomer does on the canvas with mouse and keyboard, action by action."""

from __future__ import annotations

from .canvas import Canvas

# Where the first input of the newest node is on the page.
INPUT = """() => {
  const node = app.graph._nodes.at(-1);
  const dot = document.querySelector(`[data-node-id="${node.id}"] .lg-slot--input .slot-dot`);
  const shown = dot?.getBoundingClientRect();
  if (shown?.width) return [shown.x + shown.width / 2, shown.y + shown.height / 2];
  const box = app.canvas.canvas.getBoundingClientRect();
  const [left, top] = app.canvas.ds.convertOffsetToCanvas(node.getConnectionPos(true, 0));
  return [box.x + left, box.y + top];
}"""
PAUSE = 700  # milliseconds after each action


class Newcomer:
    """Works on a canvas with real mouse and keyboard events.

    Attributes:
        actions: what was done so far; a click, double-click, typed word, key or drag is one action each.
    """

    def __init__(self, canvas: Canvas) -> None:
        self.canvas, self.page = canvas, canvas.page
        self.actions: list[str] = []

    def _did(self, action: str) -> None:
        self.actions.append(action)
        self.page.wait_for_timeout(PAUSE)

    def open_search(self, x: float, y: float) -> None:
        """Double-clicks on an empty place, which opens the search for nodes."""
        self.page.mouse.dblclick(x, y)
        self._did("double-click")

    def type(self, words: str) -> None:
        """Types into what has the focus."""
        self.page.keyboard.type(words, delay=30)
        self._did(f"type {words}")

    def offered(self) -> list[str]:
        """Names of the nodes that the search shows, the first one first."""
        self.canvas.settle()
        entries = self.page.locator("[data-testid='result-item'], .option-display-name").all_inner_texts()
        return [entry.strip().splitlines()[0].strip() for entry in entries]

    def press(self, key: str) -> None:
        """Presses a key."""
        self.page.keyboard.press(key)
        self._did(f"press {key}")

    def drag_entry(self, text: str, x: float, y: float) -> None:
        """Drags an entry of a list onto the canvas."""
        box = self.page.get_by_text(text, exact=True).locator("visible=true").first.bounding_box()
        assert box is not None
        self._drag((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), (x, y))
        self._did(f"drag {text}")

    def drag_input_to(self, x: float, y: float) -> None:
        """Drags from the first input of the newest node to an empty place."""
        self._drag(self.page.evaluate(INPUT), (x, y))
        self._did("drag from the input")

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=5)
        self.page.mouse.move(*end, steps=5)
        self.page.mouse.up()

    def click(self, selector: str) -> None:
        """Clicks on an element of the page."""
        self.page.locator(selector).locator("visible=true").first.click()
        self._did(f"click on {selector}")

    def choose(self, text: str) -> None:
        """Clicks on an entry of the menu, the list or the page that shows this text."""
        self.page.get_by_text(text, exact=True).locator("visible=true").first.click()
        self._did(f"click on {text}")

    def run(self) -> str:
        """Presses Ctrl+Enter, which runs the workflow, and waits for the end."""
        self.page.evaluate("() => janus.forget()")
        self.press("Control+Enter")
        return self.canvas.wait_for_end()
