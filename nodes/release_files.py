"""Where files of a release may be: directly in a model folder, or in the folders that downloads go to."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import folder_paths

from ..janus_core import RELEASES, WEIGHT_SUFFIXES
from .checkpoint_folders import FOLDER, installed, loose_files

# Smaller files are no weights of a release.
_MIN_BYTES = 1_000_000


def loose_weights(name: str, only_named: bool = False) -> str:
    """Describes a release's weights that are directly in a model folder, and the fix; empty if none are.

    Args:
        name: of the release.
        only_named: whether the name of a file must tell whose weights it holds. Otherwise a file with a usual
            name may also be the release's by its size, in folders that hold only Janus checkpoints.
    """
    janus, others = loose_files(WEIGHT_SUFFIXES)
    named = [file for file in _named(janus + others, name) if file.stat().st_size >= _MIN_BYTES]
    found = named or [file for file in janus if not only_named and _has_size(file, janus, name)]
    # A folder with a release's name may be a `janus` path itself; its files are in the right folder.
    loose = [file for file in found if not _names_release(file.parent.name)]
    if not loose:
        return ""
    file = loose[0]
    root, page = file.parent, f"huggingface.co/{RELEASES[name].repo_id}"
    target = Path(folder_paths.get_folder_paths(FOLDER)[0]) / name
    choose = f", or choose {root.name!r} to use it where it is" if root in installed().values() else ""
    return f"{file.name} right in {root}; move it into {target}, with the JSON files of {page}{choose}"


def loose_gguf(name: str) -> str:
    """The name of a release's GGUF file that is directly in a model folder; empty if there is none."""
    janus, others = loose_files((".gguf",))
    return next((file.name for file in _named(janus + others, name)), "")


def _named(files: Iterable[Path], name: str) -> Iterator[Path]:
    """The files whose names are those of a release, and of no other one and no adapter."""
    others = [letters(release) for release in RELEASES if release != name]
    for file in files:
        text = letters(file.name)
        if letters(name) in text and not any(word in text for word in (*others, "lora", "adapter")):
            yield file


def _has_size(file: Path, files: list[Path], name: str) -> bool:
    """Whether a file with a usual name has a release's size, together with its other shards."""
    pattern = re.sub(r"\d+", "", file.name)
    shards = [
        each for each in files if each.parent == file.parent and re.sub(r"\d+", "", each.name) == pattern
    ]
    size = sum(each.stat().st_size for each in shards)
    is_usual = letters(file.name).startswith(("model", "pytorchmodel"))
    return is_usual and abs(size / RELEASES[name].num_bytes - 1) < 0.1


def _names_release(name: str) -> bool:
    return any(letters(release) in letters(name) for release in RELEASES)


def letters(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name.casefold()))


def download_folder(name: str) -> Path:
    """The folder to download a release to: one in a `janus` path that exists, or a new one in the first.

    Folders of other packs and snapshots of the hub's cache are never added to, even if they are linked there.

    Raises:
        ValueError: if such a link has the name of the new folder.
    """
    folders = download_folders(name)
    existing = (folder for folder in folders if folder.is_dir() and not _belongs_to_others(folder))
    folder = next(existing, folders[0])
    if _belongs_to_others(folder):
        raise ValueError(
            f"download must have a folder of its own, got {folder}, a link to {os.path.realpath(folder)}; "
            "remove the link, or complete the files there yourself"
        )
    return folder


def download_folders(name: str) -> list[Path]:
    """The folders in `models/janus` and other `janus` paths that a release may be downloaded to."""
    roots = [Path(root) for root in folder_paths.get_folder_paths(FOLDER)]
    folders = [root / place for place in (name, RELEASES[name].repo_id) for root in roots]
    return [*folders, *(root for root in roots if root.name == name)]


def _belongs_to_others(folder: Path) -> bool:
    """Whether a folder is a snapshot of the hub's cache, or in a model folder that is not for Janus."""
    real = Path(os.path.realpath(folder))
    roots = [os.path.realpath(root) for root in folder_paths.get_folder_paths(FOLDER)]
    is_in_janus = any(real.is_relative_to(root) for root in roots)
    is_in_models = real.is_relative_to(os.path.realpath(folder_paths.models_dir))
    return real.parent.name == "snapshots" or (is_in_models and not is_in_janus)
