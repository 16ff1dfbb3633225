"""Fixtures that run real ComfyUI servers.

Where no server can run, the tests are skipped with the reason; with `JANUS_REQUIRE_COMFYUI=1` they fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.comfyui import tree_or_skip

from .client import ComfyClient
from .server import ComfyServer

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this folder, so that `-m 'not bench'` leaves them out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("bench")


@pytest.fixture(scope="session")
def comfyui_tree() -> Path:
    """ComfyUI's source tree."""
    return tree_or_skip()


@pytest.fixture(scope="session")
def server_factory(
    comfyui_tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ComfyServer]]:
    """Makes further servers, stopped at the end of the session; takes `ComfyServer`'s arguments.

    The server is not started yet, so that models can be added first: `server.start()`. Each start takes
    about ten seconds: prefer `server`.
    """
    with ExitStack() as stack:

        def make(**arguments: object) -> ComfyServer:
            arguments.setdefault("base", tmp_path_factory.mktemp("comfyui"))
            server = ComfyServer(comfyui_tree, **arguments)  # type: ignore[arg-type]
            stack.callback(server.stop)
            return server

        yield make


@pytest.fixture(scope="session")
def server(server_factory: Callable[..., ComfyServer], golden_root: Path) -> ComfyServer:
    """One running server for all tests, with the pack loaded and the checkpoint `janus-pro-tiny` in place."""
    server = server_factory()
    server.add_model(golden_root / "janus-pro-tiny")
    server.start()
    return server


@pytest.fixture
def client(server: ComfyServer) -> ComfyClient:
    """A client of the shared server."""
    return server.client
