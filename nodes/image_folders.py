"""Resolves the names of image folders in a workflow to paths.

Workflows may come from strangers: they can read and write only in ComfyUI's input and output folders.
"""

import os
import re
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

import folder_paths

from .choices import resolve_choice

# ComfyUI's folders in which a workflow may name folders.
LOCATIONS = {"input": folder_paths.get_input_directory, "output": folder_paths.get_output_directory}

# Invisible characters that programs put around a copied path, such as text direction marks.
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_QUOTES = {'""', "''", "``", "“”", "„“", "‘’", "«»", "「」"}  # in pairs, opening and closing


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
            if os.path.isdir(folder):  # unlike `Path.is_dir`, it raises nothing for names that are too long
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
    try:
        resolved = [(root.resolve(), folder.resolve()) for root, folder in found]
    except (OSError, ValueError, RuntimeError):  # too long, not encodable, or a link that leads to itself
        return []
    return [folder for root, folder in resolved if folder.is_relative_to(root)]


def clean_path(name: str) -> str:
    """Removes surrounding spaces and quotes, and turns `file:` URLs and a leading `~` into paths."""
    name = _without_spaces(name)
    while len(name) > 1 and name[0] + name[-1] in _QUOTES:
        name = _without_spaces(name[1:-1])
    if address := re.match(r"file:(//(localhost)?)?(?=/)", name, re.IGNORECASE):
        # The path of file:///C:/images has a slash before the drive.
        name = re.sub(r"^/(?=[a-zA-Z]:)", "", unquote(name[address.end() :]))
    if name.startswith(("~/", "~\\")):
        name = str(Path.home()) + name[1:]
    return name


def _without_spaces(name: str) -> str:
    before = ""
    while name != before:
        before, name = name, name.strip().strip(_INVISIBLE)
    return name
