"""Finds the images of a folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..arguments import listed
from ..processing.folder_files import files_of, is_unread_image
from ..processing.image_files import is_image_file


@dataclass(frozen=True)
class FoundImages:
    """Paths of files, relative to the searched folder and sorted.

    Attributes:
        images: images to caption.
        left_out: images that match a `skip` pattern.
        unread: files that look like images but are not read.
    """

    images: list[str]
    left_out: list[str]
    unread: list[str]


def find_images(root: Path, subfolders: bool = False, skip: str = "") -> FoundImages:
    """Finds the images of a folder.

    Args:
        root: the folder, resolved.
        subfolders: whether to search subfolders, except hidden ones.
        skip: patterns of files to leave out, as `CaptionFolder` describes them.

    Raises:
        FileNotFoundError: if the folder does not exist, or no image is left.
        ValueError: if the folder cannot be read.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"folder must exist, got {root}; correct its name")

    def unreadable(error: OSError) -> None:
        raise ValueError(f"folder must be readable, got {error}; change its permissions") from error

    leaves_out = _matcher(skip)
    found = FoundImages([], [], [])
    for path in files_of(root, subfolders, unreadable):
        name = path.relative_to(root).as_posix()
        if is_image_file(path):
            (found.left_out if leaves_out(name) else found.images).append(name)
        elif is_unread_image(path) and not leaves_out(name):
            found.unread.append(name)
    for names in (found.images, found.left_out, found.unread):
        names.sort()
    if not found.images:
        raise FileNotFoundError(_no_images(root, subfolders, found))
    return found


def _matcher(skip: str) -> Callable[[str], bool]:
    """Returns a predicate: whether a file's path, relative to the folder, matches one of the patterns."""
    patterns = [each.strip().replace("\\", "/").removeprefix("./") for each in re.split(r"[;\n]", skip)]
    # A folder matches all files in it. Brackets are literal, since file names contain them.
    patterns = [each + "*" if each.endswith("/") else each for each in patterns if each]
    patterns = [each.casefold().replace("[", "[[]") for each in patterns]

    def matches(name: str) -> bool:
        path = name.casefold()
        base = path.rpartition("/")[2]
        return any(fnmatchcase(path if "/" in pattern else base, pattern) for pattern in patterns)

    return matches


def _no_images(root: Path, subfolders: bool, found: FoundImages) -> str:
    """The error message for a folder without images to caption."""
    if found.left_out:
        got, fix = f"only ones that skip leaves out ({listed(found.left_out)})", "change skip"
    elif found.unread:
        got, fix = f"only ones that are not read ({listed(found.unread)})", "convert them to PNG or JPEG"
    else:
        got, fix = "none", "put some there"
    or_search = "" if subfolders else ", or include its subfolders"
    return f"folder must hold images, got {got} in {root}; {fix}{or_search}"
