"""Finds LoRA adapters in ComfyUI's model folders; a workflow can name no others."""

import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ..janus_core import ADAPTER_CONFIG

ADAPTER_FOLDER = "janus_loras"
# ComfyUI's own LoRA folder. Most files there are for diffusion models, so only PEFT folders are listed.
_SHARED_FOLDER = "loras"

# Deep enough for `my_run/v0-20260101/checkpoint-100`, as trainers write them.
_MAX_DEPTH = 3


def installed() -> dict[str, Path]:
    """Adapters by name, which is their path relative to `models/janus_loras` or `models/loras`.

    They are folders with an `adapter_config.json` and, in `models/janus_loras`, single safetensors files.
    """
    found: dict[str, Path] = {}
    for kind in (ADAPTER_FOLDER, _SHARED_FOLDER):
        for root in map(Path, folder_paths.get_folder_paths(kind)):
            for path in _walk(root, with_files=kind == ADAPTER_FOLDER):
                found.setdefault(path.relative_to(root).as_posix(), path)
    return found


def find(name: str) -> Path:
    """The folder or file of an adapter that `installed` lists; no other name is ever used as a path.

    Raises:
        FileNotFoundError: if there is no such adapter.
    """
    adapters = installed()
    if name not in adapters:
        raise FileNotFoundError(
            f"adapter must be one of those in models/{ADAPTER_FOLDER} or models/{_SHARED_FOLDER} "
            f"({', '.join(adapters) or 'none yet'}), got {name!r}; choose one of these, or put the adapter's "
            "folder there and reload the page"
        )
    return adapters[name]


def fingerprint(name: str) -> str:
    """A value that changes when the files of an adapter do."""
    path = installed().get(name)
    if path is None:
        return ""
    files = sorted(path.glob("adapter_*")) if path.is_dir() else [path]
    return repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def _walk(folder: Path, with_files: bool, depth: int = 1) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # a configured folder that does not exist
        return
    for path in (Path(entry.path) for entry in entries if not entry.name.startswith(".")):
        if (path / ADAPTER_CONFIG).is_file():
            yield path
        elif path.is_dir() and depth < _MAX_DEPTH:
            yield from _walk(path, with_files, depth + 1)
        elif with_files and path.suffix == ".safetensors" and path.is_file():
            yield path
