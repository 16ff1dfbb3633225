"""Resolves the names of checkpoints in a workflow to paths.

Workflows may come from strangers: they can load only the checkpoints that are listed here.
"""

import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

import folder_paths

from ..janus_core import DEMONSTRATION, FLOW_DEMONSTRATION, RELEASES, WEIGHT_SUFFIXES, listed
from .adapter_folders import ADAPTER_FOLDER
from .checkpoint_folders import FOLDER, installed, is_complete
from .release_files import download_folders, letters, loose_gguf, loose_weights

BUILT_IN = "Janus-Shapes (built-in demonstration)"
# All checkpoints of this package, by their names in workflows.
BUILT_INS = {BUILT_IN: DEMONSTRATION, "JanusFlow-Shapes (built-in demonstration)": FLOW_DEMONSTRATION}

# Folders in which a checkpoint with a release's name is that release: its owner's, and those of other packs.
_RELEASE_PARENTS = {"deepseek-ai", "janus-pro", "janus"}


def register_folder() -> None:
    """Adds `models/janus` and `models/janus_loras` to ComfyUI's model folders."""
    for name in (FOLDER, ADAPTER_FOLDER):
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))


def loadable() -> dict[str, Path]:
    """Installed checkpoints, then the built-in ones, whose names take precedence over those of folders."""
    return {**installed(), **{name: folder for name, folder in BUILT_INS.items() if is_complete(folder)}}


def choices() -> list[str]:
    """The options of the Load node: loadable checkpoints, then releases that can be downloaded."""
    names = list(loadable())
    return names + [name for name in RELEASES if name not in names]


def resolve(name: str, folders: dict[str, Path] | None = None) -> str:
    """Finds the entry of `choices` for a name in a workflow, which may come from another machine.

    Slashes and letter case may differ, and so may the folders before the last part, if only one checkpoint
    matches. The name of a release means only that release, never a fine-tune that has the same name in
    somebody's folder. A name without a match is returned unchanged.

    Args:
        name: from the workflow.
        folders: the result of `loadable`, if it is known.

    Raises:
        ValueError: if several checkpoints match.
    """
    folders = loadable() if folders is None else folders
    wanted = _parts(name)
    if name in folders or not wanted:
        return name
    matching = [known for known in folders if _parts(known) == wanted]
    matching = matching or _same_last_part(wanted, folders)
    matching = [known for known in matching if is_complete(folders[known])] or matching
    if len(matching) > 1:
        raise ValueError(
            f"checkpoint must name one of those in models/{FOLDER}, got {name!r}, which could be "
            f"{' or '.join(matching[:20])}; choose one of these"
        )
    releases = (release for release in RELEASES if _parts(release) == wanted)
    return matching[0] if matching else next(releases, name)


def _same_last_part(wanted: tuple[str, ...], folders: Iterable[str]) -> list[str]:
    same = [known for known in folders if _parts(known)[-1:] == wanted[-1:]]
    names = (each for release in RELEASES.values() for each in (release.name, release.repo_id))
    if wanted in map(_parts, names):
        return [known for known in same if {*_parts(known)[-2:-1]} <= _RELEASE_PARENTS]
    return same


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a name in lower case; empty if it is an absolute path or leads out of its folder."""
    # Windows' rules, on every system, recognize drives and both kinds of slashes.
    path = PureWindowsPath(name.strip())
    leads_away = path.anchor or ".." in path.parts or "~" in path.parts or "\0" in name
    return () if leads_away else tuple(part.casefold() for part in path.parts)


def find(name: str) -> Path:
    """The folder of a checkpoint that `choices` lists; no other name is ever used as a path.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if several checkpoints match.
    """
    folders = loadable()
    name = resolve(name, folders)
    if name in folders:
        return folders[name]
    if name in RELEASES:
        raise FileNotFoundError(_absent_release(name, folders))
    raise FileNotFoundError(_unknown(name, folders))


def refusal(name: str) -> str:
    """The error message for a name that `choices` does not list; empty if it does.

    Raises:
        ValueError: if several checkpoints match.
    """
    folders = loadable()
    resolved = resolve(name, folders)
    return "" if resolved in folders or resolved in RELEASES else _unknown(name, folders)


def _unknown(name: str, folders: dict[str, Path]) -> str:
    names = listed([known for known in folders if known not in BUILT_INS]) or "none yet"
    return (
        f"checkpoint must be one of those in models/{FOLDER} ({names}) or a built-in one, got {name!r}; "
        "choose one of these, or put the checkpoint's folder there and reload the page"
    )


def _absent_release(name: str, folders: dict[str, Path]) -> str:
    """The error message for a release that is not installed under its name."""
    start = f"checkpoint {name!r} must be in models/{FOLDER}, got none there"
    loose = loose_weights(name)
    if loose:
        return f"{start} in a folder of that name, but {loose}"
    size = f"{RELEASES[name].num_bytes / 1e9:.1f} GB from huggingface.co/{RELEASES[name].repo_id}"
    similar = [known for known in folders if letters(name) in letters(known)]
    same = [known for known in similar if _parts(known)[-1:] == _parts(name)]
    if same:
        return (
            f"{start}, but {listed(same)}, which may be another model; choose it, or turn on download on the "
            f"Load node ({size})"
        )
    if similar:
        return f"{start} of just that name, but {listed(similar)}; choose it, or rename its folder ({size})"
    gguf = loose_gguf(name)
    other = f" but {gguf}, and GGUF is not supported" if gguf else ""
    return f"{start}{other}; turn on download on the Load node ({size}), or put the folder there yourself"


def fingerprint(name: str) -> str:
    """A value that changes when the files of a checkpoint do.

    Two changes must not make ComfyUI reload a model: its download, so the fingerprint of a release is its
    revision; and the safetensors copy that is written beside pickled weights, which is therefore ignored.
    """
    folder = loadable().get(resolve(name))
    if folder is None or (name in RELEASES and not is_complete(folder)):
        return RELEASES[name].revision if name in RELEASES else ""
    found = [file for file in folder.iterdir() if file.suffix.lower() in WEIGHT_SUFFIXES]
    weights = [file for file in found if file.suffix != ".safetensors"] or found
    is_download = name in RELEASES and folder in download_folders(name)
    if is_download and all(file.suffix == ".bin" for file in weights):
        return RELEASES[name].revision
    files = sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *weights, *folder.glob("vae/*")])
    return repr([(file.name, file.stat().st_mtime_ns) for file in files if "index" not in file.name])
