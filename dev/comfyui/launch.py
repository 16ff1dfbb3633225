"""Starts ComfyUI's main.py in this process: `python launch.py COMFYUI_TREE [ComfyUI's arguments]`.

The process exits when its standard input is closed, so that a server never outlives the program that started
it, even if that program is killed.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

TORCHVISION_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class TorchvisionOperators(MetaPathFinder):
    """Import hook that declares torchvision's operators where its library cannot be loaded.

    PyPI's torchvision is built for CUDA. With a CPU build of torch its library does not load, and the import
    then fails because the operators that it wants to describe do not exist. ComfyUI imports torchvision but
    uses none of them.
    """

    def __init__(self) -> None:
        self._libraries: list[object] = []  # a library removes its operators when it is garbage collected

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds nothing; declares the operators right before torchvision describes them."""
        if fullname == "torchvision._meta_registrations":
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for name, schema in TORCHVISION_OPERATORS.items():
                if not hasattr(torch.ops.torchvision, name):
                    library.define(schema)
            self._libraries.append(library)
        return None


def declare_torchvision_operators() -> None:
    """Makes torchvision importable in this process, whatever it was built for; see `TorchvisionOperators`."""
    if not any(isinstance(finder, TorchvisionOperators) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchvisionOperators())


def exit_with_parent() -> None:
    """Exits at once when the other end of standard input is closed."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main(tree: Path, arguments: Sequence[str]) -> None:
    """Runs ComfyUI as if `python main.py` had been called in its folder."""
    script = str(tree / "main.py")
    # Python put this file's folder first, where `server` would hide ComfyUI's module of the same name.
    sys.path[0] = str(tree)
    sys.argv = [script, *arguments]
    declare_torchvision_operators()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    exit_with_parent()
    main(Path(sys.argv[1]), sys.argv[2:])
