"""Finds checkpoints in ComfyUI's model folders: where they belong, and where others put them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import folder_paths

from ..janus_core import WEIGHT_SUFFIXES, missing_files

FOLDER = "janus"

# Deep enough for `models/janus/hub/models--…` and `models/janus/downloads/deepseek-ai/Janus-Pro-1B`.
_MAX_DEPTH = 3

# A folder with any of these files is listed as a checkpoint, even if others are missing.
_NAMES = ("config.json", "tokenizer.json", "adapter_config.json", "model_index.json")
_SUFFIXES = (*WEIGHT_SUFFIXES, ".gguf", ".index.json")

# Other model folders with this in their names hold checkpoints only. In the rest of them (`models/LLM`,
# `models/checkpoints`), a checkpoint has it in its own name, or lies in a folder of deepseek-ai.
_JANUS = "janus"
_OWNERS = (_JANUS, "deepseek")


def installed() -> dict[str, Path]:
    """Checkpoint folders by name: their paths relative to `models/janus` or another folder of checkpoints.

    The first folder of a name counts, unless it is incomplete and another one is complete. A checkpoint in
    the hub's cache goes by the name of its repository, one whose files lie right in `models/janus` by the
    name of that folder.
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
    """Whether a folder has all files of a checkpoint."""
    try:
        return not missing_files(folder)
    except ValueError:  # a broken index, or several weights
        return False


def loose_files(suffixes: tuple[str, ...], is_named: Callable[[str], bool]) -> list[Path]:
    """Files that lie in no folder of their own, but right in `models/janus` or another model folder.

    Args:
        suffixes: of their names.
        is_named: whether a file's name is that of the checkpoint; asked only where other models lie too.
    """
    roots, shared = _model_folders()
    return [
        folder / name
        for folder in roots + shared
        for name in _file_names(folder)
        if name.lower().endswith(suffixes) and (folder in roots or is_named(name))
    ]


def _model_folders() -> tuple[list[Path], list[Path]]:
    """Folders that hold only checkpoints, `models/janus` first, and all other model folders."""
    registered = [(key, Path(path)) for key, (paths, *_) in _registered() for path in paths]
    own = [path for key, path in registered if key == FOLDER]
    known = {os.path.realpath(path) for path in own}
    roots, shared = [*own], list[Path]()
    others = [("", path) for path in _subfolders(Path(folder_paths.models_dir))]
    for key, path in others + registered:
        if os.path.realpath(path) not in known:
            known.add(os.path.realpath(path))
            (roots if _JANUS in f"{key} {path.name}".casefold() else shared).append(path)
    return roots, shared


def _registered() -> list[tuple[str, Any]]:
    """ComfyUI's kinds of models with their folders, also those of extra_model_paths.yaml."""
    kinds = folder_paths.folder_names_and_paths.items()
    return [(key, value) for key, value in kinds if key != "custom_nodes"]


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
    for child in _subfolders(folder):
        if not any(text in child.name.casefold() for text in only):
            continue
        name = f"{prefix}{child.name}"
        snapshot = [*_hub_snapshot(child)]
        yield from snapshot
        if snapshot:
            continue
        if _holds_checkpoint(child):
            yield name, child
        # What lies in a checkpoint is part of it, such as its VAE. A link may lead back up.
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
    # The commit is only looked up: it is no path.
    candidates = [*filter(None, [snapshots.get(commit)]), *newest_first]
    yield "/".join(repository), next(filter(is_complete, candidates), candidates[0])


def _holds_checkpoint(folder: Path) -> bool:
    return any(name in _NAMES or name.lower().endswith(_SUFFIXES) for name in _file_names(folder))


def _file_names(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if os.path.isfile(entry)]


def _subfolders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if os.path.isdir(entry)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, without hidden entries; nothing if it cannot be read.

    Ask `os.path` whether an entry is a file: its own methods fail for a link in a circle.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [entry for entry in entries if not entry.name.startswith(".")]
