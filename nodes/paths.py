"""Resolves the names of checkpoints and image folders in a workflow to paths.

Workflows may come from strangers. They can load only the checkpoints that are listed here, and write only
into ComfyUI's input and output folders.
"""

import os
from pathlib import Path, PureWindowsPath

import folder_paths

from ..janus_core import DEMONSTRATION, RELEASES, WEIGHT_SUFFIXES
from .adapter_folders import ADAPTER_FOLDER
from .checkpoint_folders import FOLDER, installed, is_complete, loose_files
from .choices import resolve_choice
from .pasted import clean_path

BUILT_IN = "Janus-Shapes (built-in demonstration)"

# ComfyUI's folders in which a workflow may name folders.
LOCATIONS = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory}


def register_folder() -> None:
    """Adds `models/janus` and `models/janus_loras` to ComfyUI's model folders."""
    for name in (FOLDER, ADAPTER_FOLDER):
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))


def loadable() -> dict[str, Path]:
    """Installed checkpoints, then the built-in one, whose name takes precedence over a folder's."""
    return {**installed(), BUILT_IN: DEMONSTRATION}


def choices() -> list[str]:
    """The options of the Load node: loadable checkpoints, then releases that can be downloaded."""
    names = list(loadable())
    return names + [name for name in RELEASES if name not in names]


def resolve(name: str) -> str:
    """Finds the entry of `choices` for a name in a workflow, which may come from another machine.

    Slashes and letter case may differ, and so may the folders before the last part, if only one checkpoint
    matches. A name without a match is returned unchanged.

    Raises:
        ValueError: if several checkpoints match.
    """
    folders = loadable()
    wanted = _parts(name)
    if name in folders or not wanted:
        return name
    matching = [known for known in folders if _parts(known) == wanted]
    matching = matching or [known for known in folders if _parts(known)[-1:] == wanted[-1:]]
    matching = [known for known in matching if is_complete(folders[known])] or matching
    if len(matching) > 1:
        raise ValueError(
            f"checkpoint must name one of those in models/{FOLDER}, got {name!r}, which could be "
            f"{' or '.join(matching)}; choose one of these"
        )
    releases = (release for release in RELEASES if _parts(release) == wanted)
    return matching[0] if matching else next(releases, name)


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
    name = resolve(name)
    if name in folders:
        return folders[name]
    if name in RELEASES:
        raise FileNotFoundError(_absent_release(name))
    raise FileNotFoundError(unknown(name))


def unknown(name: str) -> str:
    """The error message for a name that `choices` does not list."""
    return (
        f"checkpoint must be one of those in models/{FOLDER} ({', '.join(installed()) or 'none yet'}) or the "
        f"built-in one, got {name!r}; choose one of these, or put the checkpoint's folder there and reload "
        "the page"
    )


def _absent_release(name: str) -> str:
    """The error message for a release that is not installed under its name."""
    start = f"checkpoint {name!r} must be in models/{FOLDER}, got none there"
    loose = loose_weights(name)
    if loose:
        return f"{start} in a folder of that name, but {loose}"
    size = f"{RELEASES[name].num_bytes / 1e9:.1f} GB from huggingface.co/{RELEASES[name].repo_id}"
    similar = [known for known in installed() if _letters(name) in _letters(known)]
    if similar:
        return (
            f"{start} of just that name, but {', '.join(similar)}; choose it, or rename its folder ({size})"
        )
    gguf = loose_files((".gguf",), lambda file: _letters(name) in _letters(file))
    other = f" but {gguf[0].name}, and GGUF is not supported" if gguf else ""
    return f"{start}{other}; turn on download on the Load node ({size}), or put the folder there yourself"


def loose_weights(name: str) -> str:
    """Describes a release's weights that are directly in a model folder, and the fix; empty if none are."""
    found = loose_files(WEIGHT_SUFFIXES, lambda file: _letters(name) in _letters(file))
    # A folder with a release's name may be a `janus` path itself; its files are in the right folder.
    loose = [file for file in found if not _names_release(file.parent.name)]
    if not loose:
        return ""
    file = min(loose, key=lambda file: _letters(name) not in _letters(file.stem))
    root, page = file.parent, f"huggingface.co/{RELEASES[name].repo_id}"
    target = Path(folder_paths.get_folder_paths(FOLDER)[0]) / name
    choose = f", or choose {root.name!r} to use it where it is" if root in installed().values() else ""
    return f"{file.name} right in {root}; move it into {target}, with the JSON files of {page}{choose}"


def _names_release(name: str) -> bool:
    return any(_letters(release) in _letters(name) for release in RELEASES)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


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
    if name in RELEASES and all(file.suffix == ".bin" for file in weights):
        return RELEASES[name].revision
    files = sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *weights])
    return repr([(file.name, file.stat().st_mtime_ns) for file in files if "index" not in file.name])


def download_folder(name: str) -> Path:
    """The folder to download a release to: an incomplete one that exists, or a new one in the first path."""
    found = installed()
    existing = (found[known] for known in (name, RELEASES[name].repo_id) if known in found)
    return next(existing, Path(folder_paths.get_folder_paths(FOLDER)[0]) / name)


def folder_in(location: str, name: str) -> Path:
    """Finds a folder inside ComfyUI's input or output folder by its name as typed or pasted.

    The name may be surrounded by quotes and spaces, have slashes of either kind, and be a `file:` URL. A
    relative path may begin with the last parts of the root's path (`input/x`, `ComfyUI/input/x`); an absolute
    path may be in any of `LOCATIONS`. A folder with exactly this name takes precedence.

    Args:
        location: one of `LOCATIONS`.
        name: the folder's path relative to the location, a dot for the location itself, or an absolute path.

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
    # A folder with exactly this name comes first. Terminals escape spaces with a backslash.
    for spelling in (name, pasted, pasted.replace("\\ ", " ")):
        for folder in _inside(here, spelling):
            if folder.is_dir():
                return folder
    if not _inside(here, pasted):  # the error must not reveal whether a folder outside exists
        raise ValueError(
            f"folder must lie in ComfyUI's {location} folder, got {name!r}; move it there, and enter its "
            f"path relative to {location}"
        )
    raise FileNotFoundError(
        f"folder must be one in ComfyUI's {location} folder, got {name!r}, which does not exist; correct "
        "its name"
    )


def _inside(here: Path, name: str) -> list[Path]:
    """Returns the folders in `LOCATIONS` that a name can mean, the likeliest first; they need not exist.

    Args:
        here: the chosen location, where a relative path is looked up first.
        name: a relative or absolute path.
    """
    # Parse with Windows' rules on every system: they recognize drives and both kinds of slashes.
    path = PureWindowsPath(name)
    if ".." in path.parts or "\0" in name:
        return []
    found = [] if path.anchor else [(here, here.joinpath(*path.parts))]
    for location, directory in LOCATIONS.items():
        root = Path(directory())
        drives = {PureWindowsPath(each).anchor.lower() for each in (root, root.resolve())}
        # On Windows, a path on another drive could be a network share.
        if path.root and path.anchor.lower() in drives:
            found.append((root, Path(path.as_posix())))
        # A relative name may begin with `input`, or with any last parts of the root's own path.
        beginnings = [Path(location), *(root.relative_to(parent) for parent in root.parents)]
        for beginning in map(PureWindowsPath, beginnings):
            if path.is_relative_to(beginning):
                found.append((root, root.joinpath(*path.relative_to(beginning).parts)))
    resolved = [(root.resolve(), folder.resolve()) for root, folder in found]
    return [folder for root, folder in resolved if folder.is_relative_to(root)]
