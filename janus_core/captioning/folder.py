"""Captions all images of a folder, and reports the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..arguments import checked_path, checked_text
from ..pipeline.answer import Answer
from ..pipeline.pipeline import JanusPipeline
from ..processing.chat import DEFAULT_SYSTEM_PROMPT
from ..processing.image_files import BACKGROUNDS, read_image
from ..sampling.options import TextSampling
from ..sampling.steps import OnImage, OnStep, ignore_image, ignore_step, part_of
from .caption import caption_line
from .files import CAPTION_FILES
from .find import FoundImages, find_images
from .options import JOINS, CaptionFolder, is_joined
from .placeholders import Placeholders
from .report import CaptionReport


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

    Captions are one line: any white space becomes a single space. Images that cannot be read, and those whose
    caption would be empty or cannot be written, are reported and left out. Links that lead out of the folder
    are not followed.

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
    root = checked_path("folder", folder).resolve()
    found = find_images(root, options.subfolders, options.skip)
    run = _Run(pipeline, root, options, system_prompt, found)

    # Work with indices into the images: an image's index also selects its random stream.
    todo = [index for index, image in enumerate(found.images) if image not in run.failed]
    if options.existing == "skip":
        todo = [index for index in todo if not run.files.has(found.images[index])]
    run.skipped = len(found.images) - len(run.failed) - len(todo)

    chunks = pipeline.chunks(len(todo))
    try:
        for number, chunk in enumerate(chunks):
            queries = run.read(todo[chunk.start : chunk.stop])
            answers: list[Answer] = []
            if queries:
                answers = pipeline.understand(
                    torch.stack([query.image for query in queries]),
                    [query.question for query in queries],
                    sampling,
                    system_prompt=system_prompt,
                    rows=[query.index for query in queries],
                    on_step=part_of(on_step, number, len(chunks)),
                )
            # Write each batch at once, so that an interruption loses little work.
            run.write(queries, answers)
            on_image(chunk.stop, len(todo))
    finally:
        run.files.finish()
    return run.report()


@dataclass(frozen=True)
class _Query:
    """The inputs of one image's caption."""

    index: int  # in the folder's images
    image: Tensor  # [S, S, 3] in [0, 1], letterboxed
    question: str
    prefix: str
    suffix: str
    existing: str  # caption to add the new one to; empty if there is none


class _Run:
    """State of one run: reads images, writes captions, and collects what `CaptionReport` holds."""

    def __init__(
        self,
        pipeline: JanusPipeline,
        root: Path,
        options: CaptionFolder,
        system_prompt: str,
        found: FoundImages,
    ) -> None:
        self._pipeline, self._root, self._options = pipeline, root, options
        self._system_prompt, self._found, self._images = system_prompt, found, found.images
        self.files = CAPTION_FILES[options.output](root, found.images)
        self.done = self.skipped = 0
        self.failed = dict(self.files.refused)
        self.cut: list[str] = []
        self.repeating: list[str] = []
        self.without_metadata: list[str] = []
        self.unfamiliar: list[str] = []

    def read(self, indices: list[int]) -> list[_Query]:
        """Reads images; those that cannot be captioned are added to `failed`."""
        queries = []
        for index in indices:
            try:
                queries.append(self._query(index))
            except (OSError, ValueError) as error:
                self.failed[self._images[index]] = str(error)
        return queries

    def write(self, queries: list[_Query], answers: list[Answer]) -> None:
        """Turns answers into captions and writes them."""
        captions, answered = {}, {}
        for query, answer in zip(queries, answers, strict=True):
            image = self._images[query.index]
            try:
                caption = query.prefix + caption_line(answer) + query.suffix
            except ValueError as error:
                self.failed[image] = str(error)
                continue
            if is_joined(query.existing, caption):  # an earlier run added it
                self.skipped += 1
                continue
            if query.existing:
                caption = JOINS[self._options.existing](query.existing, caption)
            captions[image], answered[image] = caption, answer
        unwritten = self.files.write(captions)
        self.failed |= unwritten
        written = [image for image in captions if image not in unwritten]
        self.cut += [image for image in written if answered[image].is_cut]
        self.repeating += [image for image in written if answered[image].repeats]
        self.unfamiliar += [image for image in written if answered[image].unfamiliar]
        self.done += len(written)

    def report(self) -> CaptionReport:
        """The result so far."""
        left_out = self._found.left_out if self._options.skip.strip() else None
        return CaptionReport(
            self.done,
            self.skipped,
            self.failed,
            self.cut,
            self.repeating,
            self._found.unread,
            left_out,
            self.without_metadata,
            self.unfamiliar,
        )

    def _query(self, index: int) -> _Query:
        image, options = self._images[index], self._options
        path = self._root / image
        if not path.resolve().is_relative_to(self._root):
            raise ValueError("image must lie in the folder, got a link that leads out; copy it there")
        # Shrink each image as soon as it is read: a batch of large photographs would fill the memory.
        letterbox = self._pipeline.image_processor.letterbox
        square = letterbox(read_image(path, BACKGROUNDS[options.background]))
        placeholders = Placeholders(path)
        question, prefix, suffix = map(placeholders.fill, (options.question, options.prefix, options.suffix))
        checked_text("question", question, "ask without placeholders, or leave the image out")
        for name, text in (("prefix", prefix), ("suffix", suffix)):  # a file's name may not be Unicode
            checked_text(name, text, "use no placeholders", may_be_blank=True)
        if placeholders.lacks_metadata:
            self.without_metadata.append(image)
        if question != options.question:  # text from the file may be too long, or hold special tokens
            prompts = self._pipeline.prompts
            prompts.batch([prompts.question(question, 1, self._system_prompt)])
        joins = options.existing in JOINS and self.files.has(image)
        existing = self.files.read(image) if joins else ""
        return _Query(index, torch.tensor(square).float() / 255, question, prefix, suffix, existing)
