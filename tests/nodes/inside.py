"""Runs pytest with ComfyUI importable: `python inside.py COMFYUI_TREE BASE [pytest's arguments]`.

ComfyUI's modules have names like `nodes`, `server` and `utils` and change PyTorch's settings when they are
imported, so tests of `nodes/` run in a process of their own. The pack is loaded by `tests/conftest.py` as
ComfyUI loads it: from its folder, under a name that is not its own.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).resolve().parents[1]


def load_launcher() -> ModuleType:
    """The module that starts ComfyUI for the tests, which knows how to import it."""
    spec = importlib.util.spec_from_file_location("launch", TESTS.parent / "dev" / "comfyui" / "launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def set_environment(base: Path) -> None:
    """Points the hub's client, which reads its settings when it is imported, at a fake hub."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{probe.getsockname()[1]}"
    os.environ["HF_HOME"] = str(base / "hub")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_HUB_ENABLE_HF_TRANSFER"):
        os.environ.pop(name, None)
    os.environ["JANUS_INSIDE_COMFYUI"] = "1"


def import_comfyui(tree: Path, base: Path) -> None:
    """Makes ComfyUI importable, on the CPU and with `base` as its folder of models."""
    sys.path[0] = str(tree)
    sys.meta_path.insert(0, load_launcher().TorchvisionOperators())
    arguments, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", str(base)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args  # reads sys.argv

    sys.argv = arguments
    # First, as in main.py: ComfyUI's nodes.py puts a folder on the path that has another `utils`.
    import utils.extra_config  # noqa: F401


def main(tree: Path, base: Path, arguments: Sequence[str]) -> int:
    """Runs pytest and returns its exit code."""
    set_environment(base)
    import_comfyui(tree, base)
    return int(pytest.main(list(arguments)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
