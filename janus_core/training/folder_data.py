"""A folder of images with captions, conversations or edits, as training data."""

from __future__ import annotations

import hashlib
import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..arguments import listed
from ..pipeline.pipeline import JanusPipeline
from ..processing.folder_files import files_of, is_unread_image, read_caption
from ..processing.image_files import is_image_file, read_image
from ..processing.images import GREY, Colour
from ..sampling.steps import OnImage, ignore_image
from .conversations import CONVERSATIONS, read_conversations
from .editing import edit_form
from .folder_edits import EDITS, read_edits
from .pictures import to_pictures
from .problems import Problems
from .samples import EditSample, Region, Sample
from .sequences import conversation_sequence, edit_sequence, generation_sequence

MAX_SIDE = 2048  # pixels; larger images are scaled down when read, as models use far fewer pixels
# One of these is the question for an image with a caption.
CAPTION_QUESTIONS = ("Describe the image in detail.", "Write a short caption for this image in one sentence.")


class FolderData:
    """Samples of a folder, drawn at random with replacement; implements `TrainingData`.

    `name.txt` beside an image is its caption unless it is empty; hidden subfolders are left out.
    A line `{"image": "name.png", "turns": [["question", "answer"], …]}` of `conversations.jsonl` is a
    conversation about an image; without "image" it is text only. A line `{"source": "name.png",
    "instruction": …, "target": "other.png"}` of `edits.jsonl` is an edit by instruction.

    Attributes:
        notes: for each kind of file that is not used, a line with their number and names.
    """

    prompts: tuple[str, ...]

    def __init__(self, folder: Path, background: Colour = GREY) -> None:
        """Reads captions, conversations and edits; images are read when they are sampled.

        Args:
            folder: the images and texts.
            background: the colour behind transparent parts of images, as RGB in [0, 1].

        Raises:
            FileNotFoundError: if there are no texts, or images that a conversation or edit names are missing.
            ValueError: if texts cannot be read; the error lists all of them.
        """
        self.folder, self._background = folder, background
        files = sorted(files_of(folder))
        self._images = [file for file in files if is_image_file(file)]
        problems = Problems()
        texts = {}
        for image in self._images:
            if (file := image.with_suffix(".txt")).is_file():
                with problems.collected():
                    texts[image] = read_caption(file)
        conversations = read_conversations(folder, set(self._images), problems)
        self._edits = read_edits(folder, set(self._images), problems)
        problems.refuse()
        self._captions = [(image, caption) for image, caption in texts.items() if caption]
        self._image_conversations = [(image, turns) for image, turns in conversations if image is not None]
        self._text_conversations = [turns for image, turns in conversations if image is None]
        used = {image for image, _ in (*self._captions, *self._image_conversations)}
        used |= {image for edit in self._edits for image in (edit.source, edit.target)}
        empty = [image.with_suffix(".txt") for image, caption in texts.items() if not caption]
        self.notes = self._notes_on(
            {
                "empty caption files, which count as none": empty,
                "images with no caption, conversation or edit": [*sorted({*self._images} - used)],
                "images in formats that cannot be read; convert them to PNG or JPEG": [
                    file for file in files if is_unread_image(file)
                ],
            }
        )
        if not self._captions and not conversations and not self._edits:
            notes = "".join(f"\n{note}" for note in self.notes)
            raise FileNotFoundError(
                f"{folder} must hold images with captions (name.txt beside name.png), {CONVERSATIONS} or "
                f"{EDITS}, got {len(self._images)} images and none of these; write captions first{notes}"
            )
        self.description = f"{len(self._images)} images of a folder"
        self.prompts = tuple(caption for _, caption in self._captions[:8])
        images = [[path.relative_to(folder).as_posix(), path.stat().st_size] for path in self._images]
        captions = [caption for _, caption in self._captions]
        content = [images, [captions, [turns for _, turns in conversations]]]
        # Defaults are left out, so that runs of versions without these options can be resumed.
        content += [[*background]] if background != GREY else []
        edits = [
            [
                edit.source.relative_to(folder).as_posix(),
                edit.instruction,
                edit.target.relative_to(folder).as_posix(),
            ]
            for edit in self._edits
        ]
        content += [{EDITS: edits}] if edits else []
        self.version = f"folder-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"

    @property
    def shares(self) -> tuple[int, ...]:
        """Which of `recipe.TASKS` there are samples of, as equal shares."""
        has_understanding = bool(self._image_conversations or self._captions)
        shares = int(has_understanding), int(bool(self._text_conversations)), int(bool(self._captions))
        return (*shares, 1) if self._edits else shares

    def check(self, pipeline: JanusPipeline) -> None:
        """Builds all sequences once; raises ValueError before training, listing all texts that do not fit."""
        picture = np.empty((1, 1, 3), np.uint8)  # its content does not matter here
        question = max(CAPTION_QUESTIONS, key=len)
        samples = [Sample(picture, ((question, caption),), caption) for _, caption in self._captions]
        places = [str(image.with_suffix(".txt")) for image, _ in self._captions]
        conversations = [Sample(picture, turns) for _, turns in self._image_conversations]
        conversations += [Sample(None, turns) for turns in self._text_conversations]
        file = self.folder / CONVERSATIONS
        places += [f"{file}, conversation of {sample.turns[0][0]!r}" for sample in conversations]
        problems = Problems()
        for place, sample in zip(places, samples + conversations, strict=True):
            with problems.collected(place):
                conversation_sequence(pipeline, sample)
                if sample.caption:
                    generation_sequence(pipeline, sample.caption, drop_caption=False)
        if self._edits:
            form = edit_form(pipeline)
            for edit in self._edits:
                with problems.collected(f"{self.folder / EDITS}, edit {edit.instruction!r}"):
                    edit_sequence(pipeline, edit.instruction, form, condition=0)
        problems.refuse()

    def check_images(self, on_image: OnImage = ignore_image) -> None:
        """Decodes every image once; raises ValueError before training, listing all that cannot be read.

        Args:
            on_image: called as `on_image(done, total)` after each image.
        """
        problems = Problems()
        with ThreadPoolExecutor() as pool:
            try:
                for done, error in enumerate(pool.map(self._error_in, self._images), start=1):
                    if error:
                        problems.add(error)
                    on_image(done, len(self._images))
            finally:
                pool.shutdown(cancel_futures=True)
        problems.refuse()

    def picture(self, rng: random.Random) -> np.ndarray:
        """Returns any image of the folder."""
        return self._read(rng.choice(self._images))

    def regions(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[Region]]:
        """Returns images, each with one region: the whole image with its caption."""
        chosen = rng.choices(self._captions, k=count)
        regions = [Region(index, (caption,)) for index, (_, caption) in enumerate(chosen)]
        return [self._read(image) for image, _ in chosen], regions

    def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
        """Returns a conversation about an image, or a question that its caption answers."""
        index = rng.randrange(len(self._image_conversations) + len(self._captions))
        if index < len(self._image_conversations):
            image, turns = self._image_conversations[index]
            return Sample(self._read(image), turns)
        image, caption = self._captions[index - len(self._image_conversations)]
        return Sample(self._read(image), ((rng.choice(CAPTION_QUESTIONS), caption),))

    def text(self, rng: random.Random) -> Sample:
        """Returns a conversation without an image."""
        return Sample(None, rng.choice(self._text_conversations))

    def generation(self, rng: random.Random) -> Sample:
        """Returns a caption and its image."""
        image, caption = rng.choice(self._captions)
        return Sample(self._read(image), caption=caption)

    def edit(self, rng: random.Random, lesson: str = "") -> EditSample:
        """Returns an instruction with the images before and after it."""
        edit = rng.choice(self._edits)
        return EditSample(self._read(edit.source), edit.instruction, self._read(edit.target))

    def _read(self, image: Path) -> np.ndarray:
        """Reads an image as [H, W, 3] uint8."""
        try:
            return to_pictures(read_image(image, self._background, MAX_SIDE)[None])[0]
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from error

    def _error_in(self, image: Path) -> ValueError | None:
        try:
            self._read(image)
        except ValueError as error:
            return error
        return None

    def _notes_on(self, unused: dict[str, list[Path]]) -> tuple[str, ...]:
        names = {what: [str(path.relative_to(self.folder)) for path in unused[what]] for what in unused}
        return tuple(f"{what}: {len(each)} ({listed(each)})" for what, each in names.items() if each)
