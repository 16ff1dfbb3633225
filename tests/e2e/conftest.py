"""Fixtures that run ComfyUI servers and browsers.

Where no server can run, the tests are skipped with the reason; with `JANUS_REQUIRE_COMFYUI=1` they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core.processing.image_files import read_image
from support.comfyui import tree_or_skip
from support.pictures import PHOTOGRAPHS, write_photograph
from torch import Tensor

from dev.browser.canvas import Canvas
from dev.browser.open import find_browser, open_canvas
from dev.comfyui.client import ComfyClient
from dev.comfyui.graph import Graph
from dev.comfyui.server import ComfyServer
from dev.comfyui.tree import FRONT_END, ComfyUIUnavailableError, front_end, front_end_of
from dev.comfyui.users import add_dataset, add_models

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, so that `-m 'not e2e'` deselects them."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("e2e")


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
def server(server_factory: Callable[..., ComfyServer], golden_root: Path) -> ComfyServer:
    """One running server for all tests, with the pack, the example data and stand-in models."""
    server = server_factory()
    server.add_model(golden_root / "janus-pro-tiny")
    add_dataset(server)
    add_models(server, golden_root)
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


@pytest.fixture(scope="module", params=["pinned", "newest"])
def canvas(
    request: pytest.FixtureRequest,
    golden_root: Path,
    comfyui_tree: Path,
    server_factory: Callable[..., ComfyServer],
) -> Iterator[Canvas]:
    """The canvas, with the front end that this ComfyUI demands and with the newest one."""
    if find_browser() is None:
        reason = "no Chromium or Chrome on the PATH, nor one that CHROMIUM_PATH names"
        if os.environ.get("JANUS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and JANUS_REQUIRE_BROWSER=1 demands one")
        pytest.skip(reason)
    requirement = FRONT_END if request.param == "newest" else front_end_of(comfyui_tree)
    try:
        arguments = ("--front-end-root", str(front_end(requirement)))
    except ComfyUIUnavailableError as error:
        pytest.skip(f"no {request.param} front end: {error}")
    server = server_factory(arguments=arguments)
    server.add_model(golden_root / "janus-pro-tiny")
    add_dataset(server)
    add_models(server, golden_root)
    server.start()
    with open_canvas(server) as canvas:
        yield canvas


@pytest.fixture
def nothing_is_wrong(canvas: Canvas) -> Iterator[None]:
    """Checks that a test leaves no message and no console error of the pack; cleans up after it."""
    canvas.errors.clear()
    yield
    found = canvas.messages(), canvas.errors
    canvas.stop()
    assert found == ([], [])
