"""Fixtures that run ComfyUI servers and browsers.

Where no server can run, the tests are skipped with the reason; with `JANUS_REQUIRE_COMFYUI=1` they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core.processing.image_files import read_image
from playwright.sync_api import Browser
from support.comfyui import tree_or_skip
from support.pictures import PHOTOGRAPHS, write_photograph
from torch import Tensor

from dev.browser.canvas import VIEW, Canvas
from dev.browser.open import canvas_in, find_browser, open_browser
from dev.comfyui.client import ComfyClient
from dev.comfyui.graph import Graph
from dev.comfyui.server import ComfyServer
from dev.comfyui.tree import FRONT_END, ComfyUIUnavailableError, front_end, front_end_of
from dev.comfyui.users import DRAWINGS, add_dataset, add_models, draw_folder

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, so that `-m 'not e2e'` deselects them, and sorts them by view."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("e2e")
    items.sort(key=_shared_page)


def _shared_page(item: pytest.Item) -> tuple[Any, ...]:
    """Brings tests of a front end together, and of these the ones of a file and view; others come first."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or "canvas" not in callspec.params:
        return ()
    front_end_name, *view = callspec.params["canvas"]
    return front_end_name, str(item.path), *view


@pytest.fixture(scope="session")
def comfyui_tree() -> Path:
    """ComfyUI's source tree."""
    return tree_or_skip()


@pytest.fixture(scope="session")
def server_factory(
    comfyui_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ComfyServer]]:
    """Makes servers that are stopped at the end of the session; takes the arguments of `ComfyServer`.

    They are not started yet, so that models can be added first. A start takes about ten seconds: prefer the
    fixture `server`.
    """
    with ExitStack() as stack:

        def make(**arguments: Any) -> ComfyServer:
            arguments.setdefault("base", tmp_path_factory.mktemp("comfyui"))
            # One thread, as in the tests' own process.
            arguments["environment"] = {"OMP_NUM_THREADS": "1", **arguments.get("environment", {})}
            server = ComfyServer(comfyui_tree, **arguments)
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture(scope="session")
def add_examples(
    golden_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[ComfyServer], None]:
    """Adds to a server what the example workflows need."""
    drawings = tmp_path_factory.mktemp("drawn") / DRAWINGS
    draw_folder(drawings)

    def add(server: ComfyServer) -> None:
        server.add_model(golden_root / "janus-pro-tiny")
        add_dataset(server)
        add_models(server, golden_root)
        shutil.copytree(drawings, server.base / "input" / DRAWINGS)

    return add


@pytest.fixture(scope="session")
def server(
    server_factory: Callable[..., ComfyServer], add_examples: Callable[[ComfyServer], None]
) -> ComfyServer:
    """One running server for all tests, with the pack, the example data and stand-in models."""
    server = server_factory()
    add_examples(server)
    server.start()
    return server


@pytest.fixture
def client(server: ComfyServer) -> ComfyClient:
    """A client of the shared server."""
    return server.client


@pytest.fixture(scope="session")
def object_info(server: ComfyServer) -> dict[str, Any]:
    """The description of every node class."""
    return server.client.object_info()


@pytest.fixture
def graph(object_info: dict[str, Any]) -> Graph:
    """An empty prompt."""
    return Graph(object_info)


@pytest.fixture(scope="session")
def photographs(server: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Tensors of photographs that are in the server's input folder as `<name>.png`."""
    folder = tmp_path_factory.mktemp("photographs")
    files = {name: write_photograph(name, folder) for name in PHOTOGRAPHS}
    for file in files.values():
        server.client.upload_image(file)
    return {name: read_image(file)[None] for name, file in files.items()}


# Front end, rendering and window size: the four cover all pairs, either half all front ends and renderings.
SMALL, LARGE = (1366, 768), (1680, 1000)
VIEWS = [
    ("pinned", "classic", SMALL),
    ("newest", "vue", SMALL),
    ("newest", "classic", LARGE),
    ("pinned", "vue", LARGE),
]
USUAL_VIEWS = [("pinned", "classic", VIEW), ("newest", "classic", VIEW)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a browser test in the usual views, or in those that a mark selects."""
    if "canvas" not in metafunc.fixturenames:
        return
    views = USUAL_VIEWS
    if metafunc.definition.get_closest_marker("all_views"):
        views = VIEWS
    elif metafunc.definition.get_closest_marker("both_renderings"):
        start = 2 * (len(metafunc.function.__name__) % 2)  # the halves by turns
        views = VIEWS[start : start + 2]
    names = ["-".join([front_end, rendering, str(size[0])]) for front_end, rendering, size in views]
    metafunc.parametrize("canvas", views, ids=names, indirect=True)


@pytest.fixture(scope="session")
def front_end_servers(
    comfyui_tree: Path,
    server_factory: Callable[..., ComfyServer],
    add_examples: Callable[[ComfyServer], None],
) -> Callable[[str], ComfyServer]:
    """Servers by front end: the one that this ComfyUI demands, `pinned`, and the `newest`."""
    servers: dict[str, ComfyServer] = {}

    def server_of(name: str) -> ComfyServer:
        if name not in servers:
            requirement = FRONT_END if name == "newest" else front_end_of(comfyui_tree)
            try:
                arguments = ("--front-end-root", str(front_end(requirement)))
            except ComfyUIUnavailableError as error:
                pytest.skip(f"no {name} front end: {error}")
            servers[name] = server_factory(arguments=arguments)
            add_examples(servers[name])
            servers[name].start()
        return servers[name]

    return server_of


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of all tests."""
    if find_browser() is None:
        reason = "no Chromium or Chrome on the PATH, nor one that CHROMIUM_PATH names"
        if os.environ.get("JANUS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and JANUS_REQUIRE_BROWSER=1 demands one")
        pytest.skip(reason)
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def canvas_of(browser: Browser, front_end_servers: Callable[[str], ComfyServer]) -> Callable[..., Canvas]:
    """Returns the page of a front end, with a rendering and a size.

    Tests share it, since opening one takes seconds. Only one is open, since idle ones keep drawing.
    """
    opened: dict[str, Canvas] = {}
    views: dict[str, tuple[Any, ...]] = {}

    def canvas_of(name: str, *view: Any) -> Canvas:
        # A test whose reload fails leaves a page without our script.
        if name not in opened or not opened[name].page.evaluate("() => 'janus' in window"):
            while opened:
                opened.popitem()[1].page.close()
            views.clear()
            opened[name] = canvas_in(browser, front_end_servers(name))
        if views.get(name) != view:
            opened[name].show_as(*view)
            views[name] = view
        return opened[name]

    return canvas_of


@pytest.fixture
def canvas(request: pytest.FixtureRequest, canvas_of: Callable[..., Canvas]) -> Canvas:
    """The canvas with one front end, rendering and window size."""
    return canvas_of(*request.param)


@pytest.fixture
def nothing_is_wrong(canvas: Canvas) -> Iterator[None]:
    """Checks that a test leaves no message and no console error of the pack; cleans up after it."""
    canvas.errors.clear()
    yield
    found = canvas.messages(), canvas.errors
    canvas.stop()
    assert found == ([], [])
