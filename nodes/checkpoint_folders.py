"""Finds checkpoints in `models/janus` and in the model folders that other node packs use."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths

from ..janus_core import WEIGHT_SUFFIXES, missing_files
from .adapter_folders import ADAPTER_FOLDER

FOLDER = "janus"

# Deep enough for `models/janus/hub/models--…` and `models/janus/downloads/deepseek-ai/Janus-Pro-1B`.
_MAX_DEPTH = 3

# A folder with any of these files is listed as a checkpoint, even if others are missing.
_NAMES = ("config.json", "tokenizer.json", "adapter_config.json", "model_index.json")
_SUFFIXES = (*WEIGHT_SUFFIXES, ".gguf", ".index.json")

# Other model folders with `janus` in their names hold only Janus checkpoints. In all others (`models/LLM`,
# `models/checkpoints`), a checkpoint is recognized by `janus` in its path below them.
_JANUS = "janus"
_OWNERS = (_JANUS, "deepseek")

# Folders of adapters, which are no checkpoints: never searched, whatever their paths are.
_ADAPTER_FOLDERS = (ADAPTER_FOLDER, "loras")


def installed() -> dict[str, Path]:
    """Returns checkpoint folders by name: their path relative to `models/janus` or another model folder.

    If several folders have the same name, the first complete one is used, or else the first. A checkpoint in
    a Hugging Face cache is named after its repository, one directly in `models/janus` after that folder.
    """
    found: dict[str, Path] = {}
    roots, shared = _model_folders()
    for root in roots:
        for name, folder in [*_hub_snapshot(root)] or [*_walk(root), *_root_itself(root)]:
            if name not in found or (not is_complete(found[name]) and is_complete(folder)):
                found[name] = folder
    for root in shared:
        for name, folder in _walk(root, only=_OWNERS):
            if _JANUS in name.casefold() and (folder / "config.json").is_file():
                found.setdefault(name, folder)
    return found


def is_complete(folder: Path) -> bool:
    """Whether a folder has all files of a checkpoint, and exactly one set of weights."""
    try:
        return not missing_files(folder)
    except ValueError:  # a broken index, or several sets of weights
        return False


def loose_files(suffixes: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """Returns files that are directly in a model folder, without one of their own.

    Args:
        suffixes: lower-case endings of their names.

    Returns:
        The files in folders that hold only Janus checkpoints, and those in all other model folders.
    """
    roots, shared = (
        [
            folder / name
            for folder in folders
            for name in _file_names(folder)
            if name.lower().endswith(suffixes)
        ]
        for folders in _model_folders()
    )
    return roots, shared


def _model_folders() -> tuple[list[Path], list[Path]]:
    """Folders with only Janus checkpoints, `models/janus` first, and all others but those of adapters."""
    registered = [(key, Path(path)) for key, (paths, *_) in _registered() for path in paths]
    own = [path for key, path in registered if key == FOLDER]
    known = {os.path.realpath(path) for path in own} | _adapter_folders()
    roots, shared = [*own], list[Path]()
    others = [("", path) for path in _subfolders(Path(folder_paths.models_dir))]
    for key, path in others + registered:
        if os.path.realpath(path) not in known and path.name.casefold() not in _ADAPTER_FOLDERS:
            known.add(os.path.realpath(path))
            (roots if _JANUS in f"{key} {path.name}".casefold() else shared).append(path)
    return roots, shared


def _registered() -> list[tuple[str, Any]]:
    """ComfyUI's model types with their folders, those of extra_model_paths.yaml included."""
    kinds = folder_paths.folder_names_and_paths.items()
    return [(key, value) for key, value in kinds if key != "custom_nodes"]


def _adapter_folders() -> set[str]:
    """The real paths of the folders of adapters."""
    kinds = (value for key, value in _registered() if key in _ADAPTER_FOLDERS)
    return {os.path.realpath(path) for paths, *_ in kinds for path in paths}


def _walk(
    folder: Path,
    prefix: str = "",
    depth: int = 1,
    above: tuple[str, ...] = (),
    only: tuple[str, ...] = ("",),
) -> Iterator[tuple[str, Path]]:
    """Yields the checkpoints below a folder by name, parents first.

    Args:
        folder: where to look.
        prefix: of the names.
        depth: of its subfolders; the search ends at `_MAX_DEPTH`.
        above: real paths of the folders on the way here.
        only: the names of the first level must contain one of these texts.
    """
    above = (*above, os.path.realpath(folder))
    adapters = _adapter_folders()
    for child in _subfolders(folder):
        if not any(text in child.name.casefold() for text in only) or os.path.realpath(child) in adapters:
            continue
        name = f"{prefix}{child.name}"
        snapshot = [*_hub_snapshot(child)]
        yield from snapshot
        if snapshot:
            continue
        if _holds_checkpoint(child):
            yield name, child
        # Subfolders of a checkpoint belong to it, such as its VAE. A link may lead back up.
        is_leaf = (child / "config.json").is_file() or os.path.realpath(child) in above
        if depth < _MAX_DEPTH and not is_leaf:
            yield from _walk(child, f"{name}/", depth + 1, above)


def _root_itself(root: Path) -> Iterator[tuple[str, Path]]:
    if _holds_checkpoint(root):
        yield root.name, root


def _hub_snapshot(folder: Path) -> Iterator[tuple[str, Path]]:
    """The checkpoint in a folder of the hub's cache (`models--owner--name`), if it is one."""
    kind, *repository = folder.name.split("--")
    snapshots = {path.name: path for path in _subfolders(folder / "snapshots")}
    if kind != "models" or not repository or not snapshots:
        return
    reference = folder / "refs" / "main"
    commit = reference.read_bytes()[:64].decode("ascii", "replace").strip() if reference.is_file() else ""
    newest_first = sorted(snapshots.values(), key=lambda path: path.stat().st_mtime, reverse=True)
    # The commit is looked up among the snapshots, never used as a path.
    candidates = [*filter(None, [snapshots.get(commit)]), *newest_first]
    yield "/".join(repository), next(filter(is_complete, candidates), candidates[0])


def _holds_checkpoint(folder: Path) -> bool:
    return any(name in _NAMES or name.lower().endswith(_SUFFIXES) for name in _file_names(folder))


def _file_names(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if os.path.isfile(entry)]


def _subfolders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if os.path.isdir(entry)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted and without hidden ones; empty if it cannot be read.

    Use `os.path` to test whether an entry is a file: its own methods raise for circular links.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [entry for entry in entries if not entry.name.startswith(".")]
