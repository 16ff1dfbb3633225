"""Runs the tests of this folder in a process that has ComfyUI, and reports each of them here.

Without a ComfyUI they are skipped with the reason; with `JANUS_REQUIRE_COMFYUI=1` they fail.
"""

from __future__ import annotations

import ast
import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.comfyui import tree_or_skip
from support.remote_tests import RemoteTests

from dev.comfyui.tree import server_python

if TYPE_CHECKING:
    from janus_nodes.janus_core import JanusPipeline
    from janus_nodes.nodes.memory import LoadedJanus

HERE = Path(__file__).parent
INSIDE = "JANUS_INSIDE_COMFYUI" in os.environ
REMOTE_TESTS = pytest.StashKey[RemoteTests]()

if INSIDE:
    from janus_nodes.nodes.paths import register_folder

    register_folder()  # as ComfyUI does when it loads the pack


class InsideFile(pytest.File):
    """A test file that is only parsed here, and runs in the other process."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yields one item per test function."""
        for node in ast.parse(self.path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield InsideTest.from_parent(self, name=node.name, line=node.lineno)


class InsideTest(pytest.Item):
    """A test function, with all its parameters."""

    def __init__(self, *, line: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.line = line

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the test is defined."""
        return self.path, self.line - 1, self.name

    def runtest(self) -> None:
        """Waits for the test's result; the first item of a session starts the process."""
        if REMOTE_TESTS not in self.session.stash:
            self.session.stash[REMOTE_TESTS] = remote_tests(self.session)
        result = self.session.stash[REMOTE_TESTS].result((str(self.path), self.name))
        if result.failures:
            raise InsideError("\n\n".join(result.failures))
        if result.skips:
            pytest.skip(result.skips[0])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The text of the failure there, which needs no traceback of this file."""
        return str(excinfo.value) if isinstance(excinfo.value, InsideError) else str(excinfo.getrepr())


class InsideError(Exception):
    """A test failed in the other process."""


def remote_tests(session: pytest.Session) -> RemoteTests:
    """Prepares to run this session's tests of this folder inside ComfyUI."""
    command = [server_python(), str(HERE / "inside.py"), str(tree_or_skip())]
    # Above `tests`, the pack is no package that pytest may import: its folder can have any name.
    command += [f"--confcutdir={HERE.parent}", f"--verbosity={session.config.option.verbose}"]
    remote = RemoteTests(
        command, [(str(item.path), item.name) for item in session.items if isinstance(item, InsideTest)]
    )
    session.config.add_cleanup(remote.close)
    return remote


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Takes the place of pytest's own reading of the test files of this folder."""
    if INSIDE or HERE not in module_path.parents:
        return None
    return InsideFile.from_parent(parent, path=module_path)


@pytest.fixture
def checkpoint(golden_root: Path) -> Path:
    """The golden checkpoint's folder."""
    return golden_root / "janus-pro-tiny"


@pytest.fixture
def janus_folder() -> Iterator[Path]:
    """ComfyUI's `models/janus`, empty."""
    import folder_paths

    folder = Path(folder_paths.models_dir) / "janus"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def loaded(checkpoint: Path) -> Iterator[LoadedJanus]:
    """The golden checkpoint in float32, as the Load node gives it."""
    import comfy.model_management as mm
    from janus_nodes.nodes import memory

    yield memory.load(checkpoint, "fp32", None)
    mm.unload_all_models()


@pytest.fixture(scope="session")
def core(pipe: JanusPipeline) -> JanusPipeline:
    """The same without ComfyUI. Tests must leave it as it is."""
    return pipe


@pytest.fixture
def no_interrupt() -> Iterator[None]:
    """Takes back an interrupt that a test asked for."""
    import comfy.model_management as mm

    yield
    mm.interrupt_current_processing(False)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Texts that a server without listeners would send onto running nodes: node and text."""
    from server import PromptServer

    texts: list[tuple[str, str]] = []

    def record(kind: str, message: dict[str, str], sid: object = None) -> None:
        assert kind == "janus.text"
        texts.append((message["node"], message["text"]))

    monkeypatch.setattr(PromptServer, "instance", PromptServer(asyncio.new_event_loop()), raising=False)
    monkeypatch.setattr(PromptServer.instance, "client_id", "a browser", raising=False)
    monkeypatch.setattr(PromptServer.instance, "send_sync", record)
    return texts


@pytest.fixture(autouse=INSIDE)
def every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets all reports of progress through: newer versions of ComfyUI drop those that follow too soon."""
    import comfy.utils

    for name in ("PROGRESS_THROTTLE_MIN_INTERVAL", "PROGRESS_THROTTLE_MIN_PERCENT"):
        monkeypatch.setattr(comfy.utils, name, 0, raising=False)


@pytest.fixture
def shown() -> Iterator[list[tuple[int, int, Any]]]:
    """What progress bars were told: value, total, preview."""
    import comfy.utils

    seen: list[tuple[int, int, Any]] = []
    comfy.utils.set_progress_bar_global_hook(
        lambda value, total, preview, node_id=None: seen.append((value, total, preview))
    )
    yield seen
    comfy.utils.set_progress_bar_global_hook(None)
