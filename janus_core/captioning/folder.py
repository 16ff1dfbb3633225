"""Captions all images of a folder, and reports the result."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..pipeline.answer import Answer
from ..pipeline.pipeline import JanusPipeline
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.image_files import is_image_file, read_image
from ..sampling.options import TextSampling
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step, part_of
from .files import CAPTION_FILES


@dataclass(frozen=True)
class CaptionFolder:
    """Options of captioning a folder.

    Attributes:
        question: the question about each image.
        prefix: text before each caption, such as a trigger word, with its trailing space or comma.
        suffix: text after each caption.
        output: `txt` for a name.txt beside each image, `jsonl` for lines of one metadata.jsonl.
        subfolders: whether to include images in subfolders.
        overwrite: whether to replace existing captions; otherwise their images are skipped.
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
    """The result of captioning a folder.

    Attributes:
        done: number of images captioned in this run.
        skipped: number of images that already had a caption.
        failed: for each image without a caption, the reason.
    """

    done: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """A line with the counts, then a line for each image that failed."""
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
    """Captions the images of a folder; an interrupted run can be continued by running it again.

    Captions are one line: any white space becomes a single space. Images that cannot be read or whose caption
    would be empty are reported and left out. Links that lead out of the folder are not followed.

    Args:
        pipeline: the model.
        folder: the folder of the images.
        options: the question, and where the captions go.
        sampling: text sampling; greedy by default. The i-th image of the folder, sorted by name, uses the
            seed + i, whether or not other images already have a caption.
        system_prompt: put before the question; empty for none.
        on_step: called as `on_step(step, total, tokens)` with the tokens of the current batch of captions;
            raise to cancel. Captions that were written are kept.
        on_image: called as `on_image(done, total)` after each batch of images; raise to cancel.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no images.
        ValueError: if the folder cannot be read, or holds a metadata.jsonl with other content.
    """
    options, sampling = options or CaptionFolder(), sampling or TextSampling()
    root = Path(folder).resolve()
    images = _image_names(root, options.subfolders)
    files = CAPTION_FILES[options.output](root, images)

    # Work with indices into `images`: an image's index also selects its random stream.
    failed = dict(files.refused)
    todo = [
        index
        for index, image in enumerate(images)
        if image not in failed and (options.overwrite or not files.has(image))
    ]
    skipped, done = len(images) - len(failed) - len(todo), 0

    chunks = pipeline.chunks(len(todo))
    try:
        for number, chunk in enumerate(chunks):
            names = {index: images[index] for index in todo[chunk.start : chunk.stop]}
            squares = _read_squares(pipeline, root, names, failed)
            answers: list[Answer] = []
            if squares:
                answers = pipeline.understand(
                    torch.stack([*squares.values()]),
                    options.question,
                    sampling,
                    system_prompt=system_prompt,
                    rows=[*squares],
                    on_step=part_of(on_step, number, len(chunks)),
                )
            captions = {}
            for index, answer in zip(squares, answers, strict=True):
                if words := answer.split():
                    captions[images[index]] = options.prefix + " ".join(words) + options.suffix
                else:
                    failed[images[index]] = "its caption must hold text, got none; ask another question"
            # Write each batch at once, so that an interruption loses little work.
            files.write(captions)
            done += len(captions)
            on_image(chunk.stop, len(todo))
    finally:
        files.finish()
    return CaptionReport(done, skipped, failed)


def _image_names(root: Path, subfolders: bool) -> list[str]:
    """Sorted names of the images in a folder, relative to it."""
    if not root.is_dir():
        raise FileNotFoundError(f"folder must exist, got {root}; correct its name")

    def unreadable(error: OSError) -> None:
        raise ValueError(f"folder must be readable, got {error}; change its permissions") from error

    found = []
    for current, folders, names in os.walk(root, onerror=unreadable):
        # Editing the list in place selects the subfolders to visit.
        folders[:] = [name for name in folders if subfolders and not name.startswith(".")]
        paths = (Path(current, name) for name in names)
        found += [path.relative_to(root).as_posix() for path in paths if is_image_file(path)]
    if not found:
        or_search = "" if subfolders else ", or include its subfolders"
        raise FileNotFoundError(f"folder must hold images, got none in {root}; put some there{or_search}")
    return sorted(found)


def _read_squares(
    pipeline: JanusPipeline, root: Path, images: dict[int, str], failed: dict[str, str]
) -> dict[int, Tensor]:
    """Reads images by index as letterboxed [S, S, 3] in [0, 1]; unreadable ones are added to `failed`."""
    squares = {}
    for index, image in images.items():
        try:
            if not (root / image).resolve().is_relative_to(root):
                raise ValueError("image must lie in the folder, got a link that leads out; copy it there")
            # Shrink each image as soon as it is read: a batch of large photographs would fill the memory.
            square = pipeline.image_processor.letterbox(read_image(root / image))
            squares[index] = torch.tensor(square).float() / 255
        except ValueError as error:
            failed[image] = str(error)
    return squares
