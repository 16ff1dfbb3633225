"""Runs a ComfyUI server in a folder of its own, with this pack as its only custom node."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import requests

from .client import ComfyClient
from .tree import REPO_ROOT, find_tree, server_python

FIXED_ARGUMENTS = (
    *("--listen", "127.0.0.1", "--database-url", "sqlite:///:memory:"),
    *("--disable-api-nodes", "--disable-auto-launch"),
)
FRONT_END_SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.InstalledVersion": "1.32.9"}
NOT_PART_OF_THE_PACK = shutil.ignore_patterns(".*", "__pycache__", "output", "tests")


class ComfyServer:
    """A ComfyUI server process; a context manager.

    Args:
        tree: ComfyUI's folder (default: see `tree.find_tree`).
        base: folder for models, input, output, user data and custom nodes (default: a temporary folder that
            is deleted at the end).
        pack: the node pack to load, None for ComfyUI alone.
        device: arguments that select the device; with `()` ComfyUI selects it.
        arguments: further arguments, for example `("--front-end-root", path)` or
            `("--extra-model-paths-config", path)`.
        environment: added to the environment variables of this process.
        start_timeout: seconds within which the server must answer.
    """

    def __init__(
        self,
        tree: Path | None = None,
        *,
        base: Path | None = None,
        pack: Path | None = REPO_ROOT,
        device: Sequence[str] = ("--cpu",),
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 600,  # a busy machine takes minutes
    ) -> None:
        self.tree = tree or find_tree()
        self._scratch = None if base else tempfile.mkdtemp(prefix="janus-nodes-comfyui-")
        self.base = base or Path(str(self._scratch))
        self.arguments = (*device, *FIXED_ARGUMENTS, *arguments)
        self.environment = dict(environment or {})
        self.start_timeout = start_timeout
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        for folder in ("models", "input", "output", "user/default", "custom_nodes"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        settings = self.base / "user" / "default" / "comfy.settings.json"
        settings.write_text(json.dumps(FRONT_END_SETTINGS), encoding="utf-8")
        if pack:
            _link_folder(pack, self.base / "custom_nodes" / "janus-nodes")

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> ComfyClient:
        """A client of this server."""
        return ComfyClient(self.url)

    @property
    def log_path(self) -> Path:
        """The file with the output of the server."""
        return self.base / "comfyui.log"

    def log(self) -> str:
        """Returns the output of the server so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def add_model(self, source: Path, kind: str = "janus", name: str | None = None) -> Path:
        """Links a checkpoint folder into `models/<kind>/`, before or after the start; returns its path."""
        target = self.base / "models" / kind / (name or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_folder(source, target)
        return target

    def start(self) -> None:
        """Starts the process and waits until it answers.

        Raises:
            RuntimeError: the process ended or did not answer in time; the message holds the end of its log.
        """
        self.port = _free_port()
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **self.environment}
        environment.pop("PYTHONPATH", None)  # nothing there may hide ComfyUI's own modules
        launcher = Path(__file__).with_name("launch.py")
        command = [server_python(), str(launcher), str(self.tree), "--port", str(self.port)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--base-directory", str(self.base), *self.arguments],
                stdin=subprocess.PIPE,  # the launcher exits when this end closes
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.tree,
                env=environment,
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                code = process.returncode
                raise RuntimeError(f"ComfyUI must start, but ended with code {code}:\n{self._log_tail()}")
            try:
                if requests.get(f"{self.url}/system_stats", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.2)
        raise RuntimeError(
            f"ComfyUI must answer, but did not within {self.start_timeout} s:\n{self._log_tail()}"
        )

    def _log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def stop(self) -> None:
        """Stops the process, if it runs, and waits for it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            if process.stdin:
                process.stdin.close()

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's id.

        Raises:
            RuntimeError: the server is not started.
        """
        if self._process is None:
            raise RuntimeError("the server must be started before it has a process id; call start()")
        return self._process.pid

    def __enter__(self) -> ComfyServer:
        try:
            self.start()
        except BaseException:
            self._delete_scratch()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._delete_scratch()

    def _delete_scratch(self) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _link_folder(source: Path, target: Path) -> None:
    if target.is_symlink():
        target.unlink()
    try:
        target.symlink_to(source.resolve(), target_is_directory=True)
    except OSError:  # Windows allows links to administrators and developers only
        shutil.copytree(source, target, ignore=NOT_PART_OF_THE_PACK, dirs_exist_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
