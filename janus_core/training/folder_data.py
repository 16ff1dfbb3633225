"""A folder of images with captions or conversations, as training data."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from ..pipeline.pipeline import JanusPipeline
from ..processing.image_files import is_image_file, read_image
from ..processing.images import GREY, Colour
from .pictures import to_pictures
from .samples import Region, Sample
from .sequences import conversation_sequence, generation_sequence

CONVERSATIONS = "conversations.jsonl"
MAX_SIDE = 2048  # pixels; larger images are scaled down when read, as models use far fewer pixels
# One of these is the question for an image with a caption.
CAPTION_QUESTIONS = ("Describe the image in detail.", "Write a short caption for this image in one sentence.")

Turns = tuple[tuple[str, str], ...]


class FolderData:
    """Samples of a folder, drawn at random with replacement; implements `TrainingData`.

    `name.txt` beside an image is its caption; subfolders are included. A line `{"image": "name.png", "turns":
    [["question", "answer"], …]}` of `conversations.jsonl` is a conversation about an image; without "image"
    it is text only.
    """

    prompts: tuple[str, ...]

    def __init__(self, folder: Path, background: Colour = GREY) -> None:
        """Reads captions and conversations; images are read when they are sampled.

        Args:
            folder: the images and texts.
            background: the colour behind transparent parts of images, as RGB in [0, 1].
        """
        self.folder, self._background = folder, background
        self._images = sorted(path for path in folder.rglob("*") if is_image_file(path))
        files = [(image, image.with_suffix(".txt")) for image in self._images]
        self._captions = [(image, _read_caption(file)) for image, file in files if file.is_file()]
        conversations = self._read_conversations(folder / CONVERSATIONS)
        self._image_conversations = [(image, turns) for image, turns in conversations if image is not None]
        self._text_conversations = [turns for image, turns in conversations if image is None]
        if not self._captions and not conversations:
            raise FileNotFoundError(
                f"{folder} must hold images with captions (name.txt beside name.png) or {CONVERSATIONS}, got "
                f"{len(self._images)} images and neither; write captions first"
            )
        self.prompts = tuple(caption for _, caption in self._captions[:8])
        images = [[path.relative_to(folder).as_posix(), path.stat().st_size] for path in self._images]
        texts = [caption for _, caption in self._captions], [turns for _, turns in conversations]
        content = json.dumps([images, texts])
        self.version = f"folder-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    @property
    def shares(self) -> tuple[int, int, int]:
        """Which tasks there are samples of, as equal shares of understanding, text and generation."""
        has_understanding = bool(self._image_conversations or self._captions)
        return int(has_understanding), int(bool(self._text_conversations)), int(bool(self._captions))

    def check(self, pipeline: JanusPipeline) -> None:
        """Builds all sequences once, so that an error names any text that does not fit before training."""
        picture = np.empty((1, 1, 3), np.uint8)  # its content does not matter here
        question = max(CAPTION_QUESTIONS, key=len)
        samples = [Sample(picture, ((question, caption),), caption) for _, caption in self._captions]
        places = [str(image.with_suffix(".txt")) for image, _ in self._captions]
        conversations = [Sample(picture, turns) for _, turns in self._image_conversations]
        conversations += [Sample(None, turns) for turns in self._text_conversations]
        file = self.folder / CONVERSATIONS
        places += [f"{file}, conversation of {sample.turns[0][0]!r}" for sample in conversations]
        for place, sample in zip(places, samples + conversations, strict=True):
            try:
                conversation_sequence(pipeline, sample)
                if sample.caption:
                    generation_sequence(pipeline, sample.caption, drop_caption=False)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from error

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

    def _read(self, image: Path) -> np.ndarray:
        """Reads an image as [H, W, 3] uint8."""
        try:
            return to_pictures(read_image(image, self._background, MAX_SIDE)[None])[0]
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from error

    def _read_conversations(self, file: Path) -> list[tuple[Path | None, Turns]]:
        if not file.is_file():
            return []
        images = set(self._images)
        # Not `splitlines`, which would also split at separators that JSON allows within a text.
        return [
            self._parse_conversation(f"{file}, line {number}", line, images)
            for number, line in enumerate(_read_text(file).split("\n"), start=1)
            if line.strip()
        ]

    def _parse_conversation(self, place: str, line: str, images: set[Path]) -> tuple[Path | None, Turns]:
        try:
            entry: dict[str, Any] = json.loads(line)
            name = entry.get("image")
            if not isinstance(name, str | None):
                raise TypeError("the image must be a file name")
            turns = _parse_turns(entry["turns"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{place} must be {{"image": …, "turns": [["question", "answer"], …]}}, got {line[:80]!r} '
                f"({error}); fix the line"
            ) from error
        image = None if name is None else self.folder / name
        if image is not None and image not in images:
            raise FileNotFoundError(
                f"{place} must name an image in {self.folder}, got {name!r}; fix the line"
            )
        return image, turns


def _parse_turns(turns: object) -> Turns:
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns must be a list that is not empty")
    for turn in turns:
        if not isinstance(turn, list) or len(turn) != 2:
            raise ValueError("each turn must be a list of a question and an answer")
        if not all(isinstance(text, str) and text.strip() for text in turn):
            raise ValueError("questions and answers must be texts that are not empty")
    return tuple((question, answer) for question, answer in turns)


def _read_caption(file: Path) -> str:
    caption = _read_text(file).strip()
    if not caption:
        raise ValueError(f"{file} must hold a caption, got an empty file; write one or remove the file")
    return caption


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # accepts the byte order mark that Windows writes
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be a text in UTF-8, got: {error}; save it as UTF-8") from error
