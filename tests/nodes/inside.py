"""Runs pytest with ComfyUI importable: `python inside.py COMFYUI_TREE [pytest's arguments] FOLDER`.

ComfyUI's modules have names like `nodes`, `server` and `utils` and change PyTorch's settings when they are
imported, so the tests of `nodes/` run in a process of their own. `tests/conftest.py` loads the pack as
ComfyUI loads it: from its folder, under a name that is not its own. FOLDER holds the request (see
`remote_plugin`).
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

# The tests' folder is on the path: whoever starts this sets PYTHONPATH.
from support.packages import load_package


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
    load_package("dev")
    from dev.comfyui.launch import tolerate_cuda_builds

    tolerate_cuda_builds()
    arguments, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", str(base)]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args  # reads sys.argv

    sys.argv = arguments
    # First, as in main.py: ComfyUI's nodes.py puts a folder on the path that has another `utils`.
    import utils.extra_config  # noqa: F401


def main(tree: Path, arguments: Sequence[str], folder: Path) -> int:
    """Runs pytest and returns its exit code."""
    base = folder / "comfyui"
    base.mkdir()
    set_environment(base)
    import_comfyui(tree, base)
    from support.remote_plugin import run_requested

    return run_requested(folder, arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:-1], Path(sys.argv[-1])))
