"""Makes the node pack importable as `janus_nodes`, and the repository's tools as `dev`.

The repository root itself must not be on the import path: its `nodes/` would hide ComfyUI's `nodes.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"janus_nodes": REPO_ROOT, "dev": REPO_ROOT / "dev"}


def load_packages() -> None:
    """Imports both packages."""
    # `python -m pytest` puts the working directory first on the path.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != REPO_ROOT]
    for name in FOLDERS:
        load_package(name)


def load_package(name: str) -> None:
    """Imports one of the packages, unless it is imported already."""
    if name in sys.modules:
        return
    folder = FOLDERS[name]
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
