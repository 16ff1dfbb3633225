"""The registry's command-line tool accepts the pack and its workflows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.workflows import RUNNABLE, WORKFLOWS, read

from dev.comfyui.server import ComfyServer
from dev.comfyui.tree import REPO_ROOT
from dev.comfyui.workflow import to_prompt

# All that the archive holds, by the first part of the path.
PARTS = {
    *("LICENSE", "README.md", "__init__.py", "pyproject.toml", "requirements.txt"),
    *("janus_core", "locales", "nodes", "web", "workflows"),
}
FIRST_WORKFLOW = "Generate an image from text"
HOMES = ("HOME", "USERPROFILE", "APPDATA")  # of Linux and macOS, and of Windows
# Inputs that name files and folders which users provide.
USER_FILES = {"checkpoint", "ckpt_name", "vae_name"}


def comfy(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `comfy` with its own home folder and without telemetry."""
    return subprocess.run(
        [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments],
        cwd=REPO_ROOT,
        env={
            **os.environ,
            **dict.fromkeys(HOMES, str(home)),
            "DO_NOT_TRACK": "1",
            # git reads no settings from that home, and would refuse a repository of another user.
            **{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def said(result: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must succeed without a warning."""
    text = result.stdout + result.stderr
    assert result.returncode == 0, text
    assert "Warning" not in text  # of a classifier, a version or a licence that the registry cannot read
    return text


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that would be published."""
    if not (REPO_ROOT / ".git").exists():
        pytest.skip("`comfy node pack` packs the files that git tracks, and this folder is no repository")
    folder = tmp_path_factory.mktemp("packed")
    archive = REPO_ROOT / "node.zip"
    try:
        said(comfy(folder, "node", "pack"))
        return Path(shutil.move(archive, folder))
    finally:
        archive.unlink(missing_ok=True)


def test_pack_passes_the_checks_of_the_registry(tmp_path: Path) -> None:
    assert "All validation checks passed" in said(comfy(tmp_path, "node", "validate"))


def test_archive_holds_what_users_need_and_nothing_else(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == PARTS
    assert {f"workflows/{name}.json" for name in WORKFLOWS} <= set(names)
    readme = (REPO_ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"[\w/]+\.jpg", readme)) <= set(names)
    # 19.0 MB, 17 of them the demonstration checkpoint; 35.9 MB with tests and tools.
    assert packed.stat().st_size < 20e6


def test_archive_runs_in_comfyui(
    packed: Path, object_info: dict[str, Any], server_factory: Callable[..., ComfyServer], tmp_path: Path
) -> None:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "pack")
    server = server_factory(pack=tmp_path / "pack")
    server.start()
    found = server.client.object_info()
    assert {name for name in found if name in object_info} == object_info.keys()
    server.client.run(to_prompt(read(FIRST_WORKFLOW), found)).check()
    server.stop()


def test_workflows_are_valid(object_info: dict[str, Any], tmp_path: Path) -> None:
    prompts = {name: to_prompt(read(name), object_info) for name in WORKFLOWS}
    (tmp_path / "nodes.json").write_text(json.dumps(object_info), encoding="utf-8")
    (tmp_path / "prompt.json").write_text(json.dumps(as_one(prompts)), encoding="utf-8")
    files = ("--workflow", str(tmp_path / "prompt.json"), "--input", str(tmp_path / "nodes.json"))
    found = json.loads(comfy(tmp_path, "workflow", "validate", *files).stdout)["data"]
    missing = {(error["node_id"].partition(":")[0], error["field"]) for error in found["errors"]}
    assert {field for _, field in missing} <= USER_FILES, found
    assert {name for name, _ in missing}.isdisjoint(RUNNABLE)
    assert found["warnings"] == []


def as_one(prompts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All prompts in one, in which each node's id begins with the name of its workflow."""
    joined = {}
    for name, prompt in prompts.items():
        for node, each in prompt.items():
            inputs = {
                key: [f"{name}:{value[0]}", value[1]] if isinstance(value, list) else value
                for key, value in each["inputs"].items()
            }
            joined[f"{name}:{node}"] = {**each, "inputs": inputs}
    return joined
