"""Options of captioning a folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..arguments import checked_text, shown
from ..processing.image_files import BACKGROUNDS
from .files import CAPTION_FILES

# A caption that ends with one of these needs no comma before the next.
_MARKS = ".,;:!?…。，、；：！？"


def _joined(first: str, second: str) -> str:
    """Two captions as one, with a comma between them unless the first ends with a punctuation mark."""
    return first.rstrip() + _separator(first) + second.lstrip()


def _separator(caption: str) -> str:
    return " " if caption.rstrip().endswith(tuple(_MARKS)) else ", "


def is_joined(existing: str, caption: str) -> bool:
    """Whether a caption is the existing one, one of its lines, or was joined with it by `JOINS`."""
    after = re.escape(_separator(caption))
    pattern = rf"(?:^|[{_MARKS}] ){re.escape(caption.strip())}(?:{after}|$)"
    return re.search(pattern, existing, re.MULTILINE) is not None


# How a new caption is combined with an existing one: functions of the old and the new caption.
JOINS: dict[str, Callable[[str, str], str]] = {
    "append": _joined,
    "prepend": lambda old, new: _joined(new, old),
}
EXISTING = ("skip", "replace", *JOINS)


@dataclass(frozen=True)
class CaptionFolder:
    """Options of captioning a folder.

    The question, prefix and suffix may hold placeholders: `{filename}` is the image's name without extension,
    `{folder}` that of the folder it is in, `{metadata}` the text in the file (see `embedded_text`). Other
    braces stay as they are.

    Attributes:
        question: the question about each image.
        prefix: text before each new caption, such as a trigger word, with its trailing space or comma.
        suffix: text after each new caption.
        output: `txt` for a name.txt beside each image, `jsonl` for lines of one metadata.jsonl.
        subfolders: whether to include images in subfolders.
        existing: what to do with an image that has a caption: `skip` it, `replace` the caption, or `append`
            or `prepend` the new one to it. If an earlier run added the new one, the caption is kept as it is.
        skip: patterns of images to leave out, separated by semicolons or line breaks. `*` stands for any
            text and `?` for a character; `*_mask.png` is compared with file names, a pattern with a slash,
            such as `drafts/*`, with paths in the folder. Case is ignored.
        background: the colour behind transparent parts of images, one of `BACKGROUNDS`.
    """

    question: str = "Describe the image in detail."
    prefix: str = ""
    suffix: str = ""
    output: str = "txt"
    subfolders: bool = False
    existing: str = "skip"
    skip: str = ""
    background: str = "grey"

    def __post_init__(self) -> None:
        checked_text("question", self.question, "ask for a caption")
        for name in ("prefix", "suffix", "skip"):
            checked_text(name, getattr(self, name), "give a text, or an empty one", may_be_blank=True)
        if not isinstance(self.subfolders, bool):
            raise ValueError(
                f"subfolders must be True or False, got {shown(self.subfolders)}; choose one of these"
            )
        for name, options in (("output", CAPTION_FILES), ("existing", EXISTING), ("background", BACKGROUNDS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in options:
                raise ValueError(
                    f"{name} must be one of {', '.join(options)}, got {shown(value)}; choose one of these"
                )
