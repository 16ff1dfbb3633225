"""The loop over a folder of images, and what it tells of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..pipeline.pipeline import ROWS_AT_ONCE, JanusPipeline
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.images import is_image_file, read_image
from ..sampling.options import TextSampling
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step, part_of
from .files import CAPTION_FILES


@dataclass(frozen=True)
class CaptionFolder:
    """How the images of a folder are captioned.

    Attributes:
        question: what the model is asked about each image.
        prefix: stands before every caption, such as a trigger word; with the space or comma behind it.
        suffix: stands behind every caption.
        output: `txt` for name.txt beside each image, `jsonl` for lines of one metadata.jsonl.
        subfolders: whether images in folders within the folder are captioned as well.
        overwrite: whether images that have a caption get another; else they are left as they are.
    """

    question: str = "Describe the image in detail."
    prefix: str = ""
    suffix: str = ""
    output: str = "txt"
    subfolders: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError(f"question must hold text, got {self.question!r}; ask for a caption")
        if self.output not in CAPTION_FILES:
            raise ValueError(
                f"output must be one of {', '.join(CAPTION_FILES)}, got {self.output!r}; choose one of these"
            )


@dataclass(frozen=True)
class CaptionReport:
    """What became of the images of a folder.

    Attributes:
        done: how many were captioned in this run.
        skipped: how many had a caption before.
        failed: why others have none, by name.
    """

    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The numbers in a line, and a line for each that failed."""
        lines = [f"{self.done} captioned, {self.skipped} had a caption, {len(self.failed)} failed"]
        return "\n".join([*lines, *(f"{name}: {reason}" for name, reason in self.failed.items())])


def caption_folder(
    pipeline: JanusPipeline,
    folder: str | Path,
    options: CaptionFolder | None = None,
    sampling: TextSampling | None = None,
    *,
    system_prompt: str = DEFAULT_SYSTEM_PROMPT,
    on_step: OnStep = ignore_step,
    on_image: OnImage = ignore_image,
) -> CaptionReport:
    """Captions the images of a folder; run again after a stop, it goes on where it was.

    Captions are one line: runs of spaces and line breaks become one space. An image that cannot be read, or
    whose caption would be empty, is reported and left out. Links that lead out of the folder are not
    followed.

    Args:
        pipeline: what looks and writes.
        folder: where the images lie.
        options: what is asked, and where the captions go.
        sampling: how captions are written; greedy by default. Image i of the folder, in the order of names,
            draws from seed + i, whichever others are left to do.
        system_prompt: stands before the question; empty for none.
        on_step: called as `on_step(step, total, tokens)`, with the tokens of the captions at work; may raise
            to cancel, and captions that are written stay.
        on_image: called as `on_image(done, total)` with the images that are dealt with, of those to do; may
            raise as well.

    Raises:
        FileNotFoundError: if there is no such folder, or no image in it.
        ValueError: if the folder cannot be read, or there is a metadata.jsonl of another kind in it.
    """
    options, sampling = options or CaptionFolder(), sampling or TextSampling()
    root = Path(folder).resolve()
    images = _images(root, options.subfolders)
    files = CAPTION_FILES[options.output](root, images)
    failed = dict(files.refused)
    rows = [
        row
        for row, image in enumerate(images)
        if image not in failed and (options.overwrite or not files.has(image))
    ]
    skipped, done = len(images) - len(failed) - len(rows), 0
    chunks = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    try:
        for index, chunk in enumerate(chunks):
            pictures = _pictures(pipeline, root, {row: images[row] for row in chunk}, failed)
            answers = (
                pipeline.understand(
                    torch.stack([*pictures.values()]),
                    options.question,
                    sampling,
                    system_prompt=system_prompt,
                    rows=[*pictures],
                    on_step=part_of(on_step, index, len(chunks)),
                )
                if pictures
                else []
            )
            captions = {}
            for row, answer in zip(pictures, answers, strict=True):
                if words := answer.split():
                    captions[images[row]] = options.prefix + " ".join(words) + options.suffix
                else:
                    failed[images[row]] = "its caption must hold text, got none; ask another question"
            files.write(captions)
            done += len(captions)
            on_image(sum(map(len, chunks[: index + 1])), len(rows))
    finally:
        files.finish()
    return CaptionReport(done, skipped, failed)


def _images(root: Path, subfolders: bool) -> list[str]:
    """Names of the images below a folder, in their order."""
    if not root.is_dir():
        raise FileNotFoundError(f"folder must be one that exists, got {root}; correct its name")

    def unreadable(error: OSError) -> None:
        raise ValueError(f"folder must be readable, got {error}; change its permissions") from error

    found = []
    for place, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [name for name in folders if subfolders and not name.startswith(".")]
        paths = (Path(place, name) for name in names)
        found += [path.relative_to(root).as_posix() for path in paths if is_image_file(path)]
    if not found:
        within = "" if subfolders else ", or let folders within it be searched"
        raise FileNotFoundError(f"folder must hold images, got none in {root}; put some there{within}")
    return sorted(found)


def _pictures(
    pipeline: JanusPipeline, root: Path, images: dict[int, str], failed: dict[str, str]
) -> dict[int, Tensor]:
    """The model's squares [S, S, 3] of those images that can be read; others are noted as failed."""
    pictures = {}
    for row, image in images.items():
        try:
            if not (root / image).resolve().is_relative_to(root):
                raise ValueError("image must lie in the folder, got a link that leads out; copy it there")
            # Small at once: many large photographs would fill the memory.
            square = pipeline.image_processor.letterbox(read_image(root / image))
            pictures[row] = torch.tensor(square).float() / 255
        except ValueError as error:
            failed[image] = str(error)
    return pictures
