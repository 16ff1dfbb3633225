"""Options of captioning a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..processing.image_files import BACKGROUNDS
from .files import CAPTION_FILES


def _joined(first: str, second: str) -> str:
    """Two captions as one, with a comma between them unless the first ends with a punctuation mark."""
    separator = " " if first.endswith((*".,;:!?…", *"。，、；：！？")) else ", "
    return first.rstrip() + separator + second.lstrip()


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
            or `prepend` the new one to it. If the caption contains the new one already, it is left as it is.
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
        if not self.question.strip():
            raise ValueError(f"question must hold text, got {self.question!r}; ask for a caption")
        for name, options in (("output", CAPTION_FILES), ("existing", EXISTING), ("background", BACKGROUNDS)):
            if (value := getattr(self, name)) not in options:
                raise ValueError(
                    f"{name} must be one of {', '.join(options)}, got {value!r}; choose one of these"
                )
