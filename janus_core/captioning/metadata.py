"""Reads the text embedded in an image file: a description, a comment, or the prompt it was made from."""

from __future__ import annotations

import codecs
import logging
import re
from pathlib import Path

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

_log = logging.getLogger(__name__)

MAX_LENGTH = 1000  # characters
# Text chunks of PNG files; `parameters` is written by image generators.
_CHUNKS = ("Description", "Caption", "Comment", "Title", "parameters")
# EXIF tags. Windows' own are UTF-16; a user comment names its encoding in its first 8 bytes.
_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.XPComment,
    ExifTags.Base.UserComment,
    ExifTags.Base.XPSubject,
    ExifTags.Base.XPTitle,
    ExifTags.Base.XPKeywords,
)
# The end of the prompt in the text that image generators save.
_SETTINGS = re.compile(r"\n(?=Negative prompt:|Steps: \d)")


def embedded_text(path: Path) -> str:
    """Reads the text in an image file, from PNG text chunks or EXIF; empty if there is none.

    The first text in the order of `_CHUNKS` and `_TAGS` is returned, as one line of at most `MAX_LENGTH`
    characters. Of an image generator's settings, only the prompt is kept; workflows in JSON are ignored.
    """
    try:
        with Image.open(path) as picture:
            exif = picture.getexif()
            tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
            # Reading all text chunks of a PNG file decodes it, as some come after the pixels.
            chunks = picture.text if isinstance(picture, PngImageFile) else {}
    except Exception as error:  # Pillow's decoders raise errors of any class for damaged files
        _log.warning("the metadata of %s cannot be read (%s) and is ignored", path, error)
        return ""
    texts = [str(chunks.get(name, "")) for name in _CHUNKS]
    texts += [_tag_text(tag, tags.get(tag), exif.endian) for tag in _TAGS]
    lines = (_one_line(_SETTINGS.split(f"\n{text}")[0]) for text in texts)
    return next((line for line in lines if line and not line.startswith(("{", "["))), "")


def _tag_text(tag: int, value: object, byte_order: str | None) -> str:
    """The text of an EXIF tag; empty if it holds none."""
    if isinstance(value, str):
        try:
            # Pillow decodes text as Latin-1, but most programs write UTF-8.
            return value.encode("latin-1").decode()
        except UnicodeError:
            return value
    if isinstance(value, tuple):
        value = bytes(number for number in value if isinstance(number, int) and 0 <= number < 256)
    if not isinstance(value, bytes):
        return ""
    if tag != ExifTags.Base.UserComment:
        return value.decode("utf-16-le", "ignore")
    code, content = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        return content.decode(_utf_16(content, byte_order), "ignore")
    return content.decode("utf-8", "ignore")


def _utf_16(content: bytes, byte_order: str | None) -> str:
    """Guesses the UTF-16 codec of a text, whose byte order may differ from that of the EXIF block."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    high_first, high_last = content[::2].count(0), content[1::2].count(0)
    if high_first == high_last:
        return "utf-16-le" if byte_order == "<" else "utf-16-be"
    return "utf-16-be" if high_first > high_last else "utf-16-le"


def _one_line(text: str) -> str:
    """Collapses white space and control characters to single spaces, and truncates to `MAX_LENGTH`."""
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return " ".join(words)[:MAX_LENGTH].rstrip()
