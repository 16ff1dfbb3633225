"""The registry's command-line tool accepts the pack and its workflows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.workflows import RUNNABLE, WORKFLOWS, read

from dev.comfyui.tree import REPO_ROOT
from dev.comfyui.workflow import to_prompt

HOMES = ("HOME", "USERPROFILE", "APPDATA")  # of Linux and macOS, and of Windows
# Inputs that name files which users provide.
USER_FILES = {"ckpt_name", "vae_name"}


def comfy(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `comfy` with its own home folder and without telemetry."""
    return subprocess.run(
        [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments],
        cwd=REPO_ROOT,
        env={
            **os.environ,
            **dict.fromkeys(HOMES, str(home)),
            "DO_NOT_TRACK": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_pack_passes_the_checks_for_publishing(tmp_path: Path) -> None:
    result = comfy(tmp_path, "node", "validate")
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "All validation checks passed" in said


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflow_is_valid(name: str, object_info: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(json.dumps(object_info), encoding="utf-8")
    (tmp_path / "prompt.json").write_text(json.dumps(to_prompt(read(name), object_info)), encoding="utf-8")
    files = ("--workflow", str(tmp_path / "prompt.json"), "--input", str(tmp_path / "nodes.json"))
    found = json.loads(comfy(tmp_path, "workflow", "validate", *files).stdout)["data"]
    missing = {error["field"] for error in found["errors"]}
    assert missing <= (set() if name in RUNNABLE else USER_FILES), found
    assert found["valid"] == (not missing)
    assert found["warnings"] == []
