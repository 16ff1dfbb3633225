"""Finds and starts an installed Chromium or Chrome: the one named by `CHROMIUM_PATH`, or one on the PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from ..comfyui.server import ComfyServer
from .canvas import VIEW, Canvas

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find_browser() -> str | None:
    """Returns the browser's executable, or None.

    Raises:
        ValueError: `CHROMIUM_PATH` is set but names no file.
    """
    own = os.environ.get("CHROMIUM_PATH")
    if own and not Path(own).is_file():
        raise ValueError(f"CHROMIUM_PATH must be a browser's executable, got '{own}'; correct it or unset it")
    return own or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Starts a browser and closes it at the end; two cannot be open at the same time.

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
            yield browser
        finally:
            browser.close()


def canvas_in(browser: Browser, server: ComfyServer, view: tuple[int, int] = VIEW) -> Canvas:
    """Opens a server's front end in a new page, as on a first visit.

    Args:
        browser: an open browser.
        server: a running server.
        view: width and height of the page, in pixels.
    """
    return Canvas(browser.new_page(viewport={"width": view[0], "height": view[1]}), server)


@contextmanager
def open_canvas(server: ComfyServer, view: tuple[int, int] = VIEW) -> Iterator[Canvas]:
    """Opens a server's front end in a new browser, see `canvas_in`, and closes it at the end."""
    with open_browser() as browser:
        yield canvas_in(browser, server, view)
