"""Lists the files of a data set folder, reads captions, and recognizes images that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..file_io import read_text
from .image_files import is_image_file

# Extensions of images that the installed Pillow may be unable to read.
_IMAGE_SUFFIXES = frozenset(
    # Photographs of telephones, web pages, drawing programs, renderers.
    ".avif .avifs .heic .heics .heif .heifs .hif .jxl .jxr .wdp .jp2 .jpx .svg .svgz .eps .ai .psd .psb .xcf"
    " .wmf .emf .kra .ora .clip .afphoto .sai .exr .hdr .dds .tga"
    # Raw formats of cameras.
    " .raw .dng .arw .sr2 .srf .cr2 .cr3 .crw .nef .nrw .orf .raf .rw2 .pef .srw .x3f .3fr .fff .iiq .kdc"
    " .dcr .mrw .erf .mef .mos .rwl .gpr".split()
)
# Magic numbers of image files: the offset and the bytes there.
_SIGNATURES = (
    (0, b"\x89PNG\r\n"),
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"GIF8"),
    (8, b"WEBP"),
    (0, b"II*\0"),  # TIFF, and most raw formats
    (0, b"MM\0*"),
    (6, b"\0\0\0\0\x36\0\0\0\x28"),  # BMP
    (0, b"8BPS"),  # Photoshop
    (0, b"\xff\x0a"),  # JPEG XL
    (4, b"JXL "),
    *((4, b"ftyp" + brand) for brand in (b"avif", b"heic", b"heix", b"mif1", b"msf1")),
)


def files_of(
    root: Path, subfolders: bool = True, on_error: Callable[[OSError], object] | None = None
) -> Iterator[Path]:
    """Yields the files of a folder, but not those in hidden subfolders; links to folders are not followed.

    Args:
        root: the folder.
        subfolders: whether to search its subfolders.
        on_error: called with the error if a folder cannot be read; by default that is ignored.
    """
    for current, folders, names in os.walk(root, onerror=on_error):
        # Editing the list in place selects the subfolders to visit.
        folders[:] = [name for name in folders if subfolders and not name.startswith(".")]
        yield from (Path(current, name) for name in names)


def is_unread_image(path: Path) -> bool:
    """Whether a file is an image by its extension or first bytes, but not one that `read_image` reads."""
    if path.name.startswith(".") or path.suffix.lower() == ".txt" or is_image_file(path):
        return False
    return path.is_file() and (path.suffix.lower() in _IMAGE_SUFFIXES or _begins_as_image(path))


def read_caption(file: Path) -> str:
    """Reads the caption in a text file; empty if it has no visible characters.

    Raises:
        ValueError: if the file cannot be read, such as a text in another encoding than UTF-8.
    """
    try:
        return visible(read_text(file))
    except OSError as error:
        raise ValueError(f"{file} must be readable, got: {error}; change its permissions") from error


def visible(text: str) -> str:
    """Strips a text; returns an empty one if it has no visible characters."""
    text = text.strip()
    return text if any(letter.isprintable() and not letter.isspace() for letter in text) else ""


def _begins_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            content = file.read(32)
    except OSError:
        return False
    return any(content[offset:].startswith(signature) for offset, signature in _SIGNATURES)
