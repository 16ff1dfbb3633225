"""Finds checkpoints in ComfyUI's model folders: where they belong, and where others put them."""

import os
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ..janus_core import WEIGHT_SUFFIXES, missing_files

FOLDER = "janus"

# Deep enough for `models/janus/hub/models--…` and `models/janus/downloads/deepseek-ai/Janus-Pro-1B`.
_MAX_DEPTH = 3

# A folder with any of these files is listed as a checkpoint, even if others are missing.
_NAMES = ("config.json", "tokenizer.json", "adapter_config.json", "model_index.json")
_SUFFIXES = (*WEIGHT_SUFFIXES, ".gguf", ".index.json")

# Other packs' folders in `models`: those with Janus in their names, and these, which hold other models too.
_JANUS = "janus"
_SHARED = ("deepseek-ai", "llm")


def installed() -> dict[str, Path]:
    """Checkpoint folders by name: their paths relative to `models/janus` or another folder of checkpoints.

    The first folder of a name counts, unless it is incomplete and another one is complete. A checkpoint in
    the hub's cache goes by the name of its repository, one whose files lie right in `models/janus` by the
    name of that folder.
    """
    found: dict[str, Path] = {}
    for root in _roots():
        for name, folder in [*_hub_snapshot(root)] or [*_walk(root), *_root_itself(root)]:
            if name not in found or (not is_complete(found[name]) and is_complete(folder)):
                found[name] = folder
    for root in _shared_folders():
        for name, folder in _walk(root):
            if _JANUS in name.casefold():
                found.setdefault(name, folder)
    return found


def is_complete(folder: Path) -> bool:
    """Whether a folder has all files of a checkpoint."""
    try:
        return not missing_files(folder)
    except ValueError:  # a broken index, or several weights
        return False


def loose_files(suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these suffixes that lie right in `models/janus` or the like, in no folder of their own."""
    return [root / name for root in _roots() for name in _file_names(root) if name.lower().endswith(suffixes)]


def _roots() -> list[Path]:
    """`models/janus` and the `janus` paths of extra_model_paths.yaml, then other packs' folders."""
    own = [Path(path) for path in folder_paths.get_folder_paths(FOLDER)]
    known = {os.path.realpath(root) for root in own}
    other = (folder for folder in _model_folders() if _JANUS in folder.name.casefold())
    return own + [folder for folder in other if os.path.realpath(folder) not in known]


def _shared_folders() -> list[Path]:
    return [folder for folder in _model_folders() if folder.name.casefold() in _SHARED]


def _model_folders() -> list[Path]:
    return _subfolders(Path(folder_paths.models_dir))


def _walk(
    folder: Path, prefix: str = "", depth: int = 1, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, Path]]:
    """Yields the checkpoints below a folder by name, parents first."""
    above = (*above, os.path.realpath(folder))
    for child in _subfolders(folder):
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
