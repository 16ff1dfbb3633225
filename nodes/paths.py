"""Folders of checkpoints and images that a workflow can name.

Workflows may come from strangers. They can load only the checkpoints that are listed here, and write only
into ComfyUI's input and output folders.
"""

import os
from pathlib import Path, PureWindowsPath

import folder_paths

from ..janus_core import DEMONSTRATION, RELEASES, missing_files
from .choices import resolve_choice
from .pasted import clean_path

FOLDER = "janus"
BUILT_IN = "Janus-Shapes (built-in demonstration)"

# ComfyUI's folders in which a workflow may name folders.
LOCATIONS = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory}

# A folder with any of these files is listed as a checkpoint, even if others are missing.
_CHECKPOINT_FILES = ("config.json", "tokenizer.json", "*.safetensors", "*.bin", "*.index.json")


def register_folder() -> None:
    """Adds `models/janus` to ComfyUI's model folders."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def installed() -> dict[str, Path]:
    """Checkpoint folders by name, at most two levels deep (`Janus-Pro-1B` or `deepseek-ai/Janus-Pro-1B`)."""
    found: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths(FOLDER)):
        for folder in sorted([*root.glob("*/"), *root.glob("*/*/")]):
            name = folder.relative_to(root).as_posix()
            if folder.parent != root and (folder.parent / "config.json").is_file():
                continue  # part of a checkpoint, such as its VAE
            hidden = any(part.startswith(".") for part in name.split("/"))
            if not hidden and any(any(folder.glob(pattern)) for pattern in _CHECKPOINT_FILES):
                found.setdefault(name, folder)
    return found


def loadable() -> dict[str, Path]:
    """Installed checkpoints, then the built-in one, whose name takes precedence over a folder's."""
    return {**installed(), BUILT_IN: DEMONSTRATION}


def choices() -> list[str]:
    """The options of the Load node: loadable checkpoints, then releases that can be downloaded."""
    names = list(loadable())
    return names + [name for name in RELEASES if name not in names]


def find(name: str) -> Path:
    """The folder of a checkpoint that `choices` lists; no other name is ever used as a path.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
    """
    folders = loadable()
    if name in folders:
        return folders[name]
    if name in RELEASES:
        size = RELEASES[name].num_bytes / 1e9
        raise FileNotFoundError(
            f"checkpoint {name!r} must be in models/{FOLDER}, got none there; turn on download on the Load "
            f"node ({size:.1f} GB from huggingface.co/{RELEASES[name].repo_id}), or put the folder there "
            "yourself"
        )
    raise FileNotFoundError(
        f"checkpoint must be one of those in models/{FOLDER} ({', '.join(installed()) or 'none yet'}) or the "
        f"built-in one, got {name!r}; choose one of these, or put the checkpoint's folder there and reload "
        "the page"
    )


def fingerprint(name: str) -> str:
    """A value that changes when the files of a checkpoint do.

    Two changes must not make ComfyUI load a model again that it has just loaded: a download, so that the
    fingerprint of a release is its revision, and a safetensors copy beside pickled weights, which is ignored.
    """
    folder = loadable().get(name)
    if folder is None or (name in RELEASES and missing_files(folder)):
        return RELEASES[name].revision if name in RELEASES else ""
    weights = list(folder.glob("*.bin")) or list(folder.glob("*.safetensors"))
    if name in RELEASES and all(file.suffix == ".bin" for file in weights):
        return RELEASES[name].revision
    files = sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *weights])
    return repr([(file.name, file.stat().st_mtime_ns) for file in files if "index" not in file.name])


def download_folder(name: str) -> Path:
    """The folder to download a release to: an incomplete one that exists, or a new one in the first path."""
    return installed().get(name) or Path(folder_paths.get_folder_paths(FOLDER)[0]) / name


def folder_in(location: str, name: str) -> Path:
    """A folder inside ComfyUI's input or output folder, named as people type or paste it.

    The name may be surrounded by quotes and spaces, have slashes of either kind, and be a `file:` address. A
    relative one may begin with the last parts of the root's path (`input/x`, `ComfyUI/input/x`); a full path
    may lead into any of `LOCATIONS`. If there is a folder of literally this name, it is taken.

    Args:
        location: one of `LOCATIONS`.
        name: the folder's path relative to it, a dot for all of it, or a full path.

    Raises:
        ValueError: if the name is empty or leads outside: another drive, `..` or a link.
        FileNotFoundError: if there is no such folder.
    """
    here = Path(LOCATIONS[resolve_choice("location", location, LOCATIONS)]()).resolve()
    pasted = clean_path(name)
    if not pasted:
        raise ValueError(
            f"folder must name a folder in ComfyUI's {location} folder, got {name!r}; enter one, or a dot "
            "for all of it"
        )
    # A folder of just this name comes first. A terminal writes a backslash before each space.
    for spelling in (name, pasted, pasted.replace("\\ ", " ")):
        for folder in _inside(here, spelling):
            if folder.is_dir():
                return folder
    if not _inside(here, pasted):  # whether a folder outside exists makes no difference
        raise ValueError(
            f"folder must lie in ComfyUI's {location} folder, got {name!r}; move it there, and enter its "
            f"path relative to {location}"
        )
    raise FileNotFoundError(
        f"folder must be one in ComfyUI's {location} folder, got {name!r}, which does not exist; correct "
        "its name"
    )


def _inside(here: Path, name: str) -> list[Path]:
    """The folders in `LOCATIONS` that a name can stand for, the likeliest first; they need not exist.

    Args:
        here: the chosen location, which a relative name is looked up in first.
        name: a path.
    """
    # Parse with Windows' rules on every system: they recognize drives and both kinds of slashes.
    path = PureWindowsPath(name)
    if ".." in path.parts or "\0" in name:
        return []
    found = [] if path.anchor else [(here, here.joinpath(*path.parts))]
    for location, directory in LOCATIONS.items():
        root = Path(directory())
        drives = {PureWindowsPath(each).anchor.lower() for each in (root, root.resolve())}
        # On Windows, a path of another drive could lead to a foreign server.
        if path.root and path.anchor.lower() in drives:
            found.append((root, Path(path.as_posix())))
        # A relative name may begin with `input`, or with any last parts of the root's own path.
        beginnings = [Path(location), *(root.relative_to(parent) for parent in root.parents)]
        for beginning in map(PureWindowsPath, beginnings):
            if path.is_relative_to(beginning):
                found.append((root, root.joinpath(*path.relative_to(beginning).parts)))
    resolved = [(root.resolve(), folder.resolve()) for root, folder in found]
    return [folder for root, folder in resolved if folder.is_relative_to(root)]
