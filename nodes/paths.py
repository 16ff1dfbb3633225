"""Where checkpoints lie: `models/janus`, every `janus` entry of extra_model_paths.yaml, and this pack.

And which folders of images a workflow can reach: those within ComfyUI's input and output.
"""

import os
from pathlib import Path, PureWindowsPath

import folder_paths

from ..janus_core import DEMONSTRATION, RELEASES, missing_files
from .types import chosen

FOLDER = "janus"

# What the Load node calls the checkpoint that comes with the pack.
BUILT_IN = "Janus-Shapes (built-in demonstration)"

# Which of ComfyUI's own folders a workflow may name folders in.
LOCATIONS = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory}

# A folder with any of these is, or was meant to be, a checkpoint.
_SIGNS = ("config.json", "tokenizer.json", "*.safetensors", "*.bin", "*.index.json")

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))


def installed() -> dict[str, Path]:
    """Checkpoint folders by name, at most two levels deep (`Janus-Pro-1B` or `deepseek-ai/Janus-Pro-1B`)."""
    found: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths(FOLDER)):
        for folder in sorted([*root.glob("*/"), *root.glob("*/*/")]):
            name = folder.relative_to(root).as_posix()
            if folder.parent != root and (folder.parent / "config.json").is_file():
                continue  # a part of a checkpoint, such as its VAE
            hidden = any(part.startswith(".") for part in name.split("/"))
            if not hidden and any(any(folder.glob(sign)) for sign in _SIGNS):
                found.setdefault(name, folder)
    return found


def loadable() -> dict[str, Path]:
    """Checkpoints that are here: those installed, then the built-in one, whose name no folder can take."""
    return {**installed(), BUILT_IN: DEMONSTRATION}


def choices() -> list[str]:
    """What the Load node offers: checkpoints that are here, then releases that can be downloaded."""
    names = list(loadable())
    return names + [name for name in RELEASES if name not in names]


def find(name: str) -> Path:
    """The folder of a checkpoint.

    Only names that `choices` lists are looked at, so a workflow from a stranger reaches no other folder.

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
    """Changes when the files that make up a checkpoint do.

    A copy of pickled weights in safetensors is not one of them, and what a release will be is known before it
    is downloaded: neither makes a model that was just loaded look new.
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
    """Where a release is downloaded to: where it already lies in part, else the first of the paths."""
    return installed().get(name) or Path(folder_paths.get_folder_paths(FOLDER)[0]) / name


def folder_in(location: str, name: str) -> Path:
    """A folder within ComfyUI's input or output.

    Args:
        location: one of `LOCATIONS`.
        name: relative to it; a dot for the whole of it.

    Raises:
        ValueError: if it is empty, or a way leads out of there: an absolute path, another drive, `..` or a
            link.
        FileNotFoundError: if there is no such folder.
    """
    root = Path(LOCATIONS[chosen("location", location, LOCATIONS)]()).resolve()
    if not name.strip():
        raise ValueError(
            f"folder must name a folder in ComfyUI's {location} folder, got {name!r}; enter one, or a dot "
            "for all of it"
        )
    # Windows's rules everywhere, for they know both kinds of slashes, and drives.
    path = PureWindowsPath(name)
    within = not (path.anchor or ".." in path.parts or "\0" in name)
    folder = root.joinpath(*path.parts).resolve() if within else root.parent
    if not folder.is_relative_to(root):
        raise ValueError(
            f"folder must lie in ComfyUI's {location} folder, got {name!r}; move it there, and name it as it "
            "is called in there"
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"folder must be one in ComfyUI's {location} folder, got {name!r}, which is not there; correct "
            "its name"
        )
    return folder
