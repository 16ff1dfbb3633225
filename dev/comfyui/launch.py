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
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

TORCHVISION_OPERATORS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class CudaBuilds(MetaPathFinder):
    """Import hook for torchvision and torchaudio where their libraries cannot be loaded.

    PyPI's builds of both are for CUDA. With a CPU build of torch their libraries do not load, and the
    imports, which ComfyUI cannot do without, then fail. The tests run nothing of the libraries: torchvision
    only needs the operators to exist that it describes, and torchaudio supports a missing library.
    """

    def __init__(self) -> None:
        self._libraries: list[object] = []  # a library removes its operators when it is garbage collected

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds torchaudio's own account of its library; declares torchvision's operators."""
        if fullname == "torchvision._meta_registrations":
            import torch

            library = torch.library.Library("torchvision", "FRAGMENT")
            for name, schema in TORCHVISION_OPERATORS.items():
                if not hasattr(torch.ops.torchvision, name):
                    library.define(schema)
            self._libraries.append(library)
        if fullname == "torchaudio._extension":
            return ModuleSpec(fullname, NoLibrary())
        return None


class NoLibrary(Loader):
    """Loads a `torchaudio._extension` which says that torchaudio has no library."""

    def exec_module(self, module: ModuleType) -> None:
        """Sets the two names that torchaudio's functions import from it."""
        vars(module).update(_IS_TORCHAUDIO_EXT_AVAILABLE=False, fail_if_no_align=lambda function: function)


def tolerate_cuda_builds() -> None:
    """Makes torchvision and torchaudio importable in this process, see `CudaBuilds`."""
    if not any(isinstance(finder, CudaBuilds) for finder in sys.meta_path):
        sys.meta_path.insert(0, CudaBuilds())


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
    tolerate_cuda_builds()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    exit_with_parent()
    main(Path(sys.argv[1]), sys.argv[2:])
