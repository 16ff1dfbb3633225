"""Prepares the process that runs the tests, and holds the fixtures that all of them share.

Tests write `from janus_nodes.janus_core import …` for the pack, `from dev.comfyui.client import …` for the
repository's tools, and `from support.checkpoints import …` for `tests/support`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from support.packages import load_packages

if TYPE_CHECKING:
    from janus_nodes.janus_core import JanusPipeline

TESTS = Path(__file__).resolve().parent


# Until all tests are collected: the imports make no garbage, and collections would walk through them.
gc.disable()

load_packages()

# transformers' and peft's model classes, which some tests use, import torchvision.
from dev.comfyui.launch import tolerate_cuda_builds  # noqa: E402

tolerate_cuda_builds()
# On tensors this small, threads only wait for each other: for seconds, on a busy machine.
torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Keeps garbage collections from walking through all imported modules, over and over."""
    gc.freeze()
    gc.enable()


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


@pytest.fixture(scope="session")
def pipe(golden_root: Path) -> JanusPipeline:
    """The checkpoint `janus-pro-tiny`, in float32. Tests must leave it as it is."""
    from janus_nodes.janus_core import load_pipeline

    return load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)
