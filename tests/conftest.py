"""Loads the pack once, under the name `janus_nodes`, and gives tests the recorded reference numbers.

Tests write `from janus_nodes.janus_core import …`, and `from dev.comfyui.client import …` for a ComfyUI.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

TESTS = Path(__file__).resolve().parent
REPO_ROOT = TESTS.parent


def _load_package(name: str, folder: Path) -> None:
    """Imports `folder` as the package `name`, without its parent being on the import path."""
    if name in sys.modules:
        return
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


# On tensors this small, threads only wait for each other: for seconds, on a busy machine.
torch.set_num_threads(1)

# `python -m pytest` puts the working directory first, where our `nodes/` would hide ComfyUI's `nodes.py`.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != REPO_ROOT]
_load_package("janus_nodes", REPO_ROOT)
_load_package("dev", REPO_ROOT / "dev")
_load_package("support", TESTS / "support")


class Golden:
    """A tiny checkpoint and what the reference implementation computes on it.

    Names are `file/key`, the file being one of `goldens/*.safetensors` without its ending; values recorded
    for the whole checkpoint have no `file/`. The golden folder's README tells how they were recorded.
    """

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder
        self.folder = folder / "goldens"

    @cached_property
    def manifest(self) -> dict[str, dict[str, Any]]:
        """`tensors` and `values` of all manifests, by name, each entry with the reference's call."""
        merged = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
        for path in self.folder.glob("*.json"):
            if path.stem == "manifest":
                continue
            manifest = json.loads(path.read_text(encoding="utf-8"))
            for key, entry in manifest["tensors"].items():
                place = {"file": f"{path.stem}.safetensors", "key": key}
                merged["tensors"][f"{path.stem}/{key}"] = {**place, **entry}
            for key, entry in manifest["values"].items():
                merged["values"][f"{path.stem}/{key}"] = entry
        return merged

    def tensor(self, name: str) -> torch.Tensor:
        """Returns a recorded tensor, for example `vq/encode.indices`."""
        entry = self.manifest["tensors"][name]
        with safe_open(self.folder / entry["file"], framework="pt") as file:
            return file.get_tensor(entry["key"])

    def value(self, name: str) -> Any:
        """Returns a recorded value, for example `bos_token_id` or `edit/instructions`."""
        return self.manifest["values"][name]["value"]


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """The folder of tiny checkpoints, reference numbers and input images."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def golden(golden_root: Path) -> Callable[[str], Golden]:
    """Returns the `Golden` of a checkpoint folder: `golden("janus-pro-tiny")`."""
    loaded: dict[str, Golden] = {}

    def load(name: str) -> Golden:
        folder = golden_root / name
        if not folder.is_dir():
            raise FileNotFoundError(f"golden name must be a folder of {golden_root}, got '{name}'")
        return loaded.setdefault(name, Golden(folder))

    return load
