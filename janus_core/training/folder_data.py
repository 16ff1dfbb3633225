"""A folder of images with captions or conversations as training data."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..pipeline.pipeline import JanusPipeline
from ..processing.images import is_image_file
from .rows import conversation_row, drawing_row
from .samples import Region, Sample

CONVERSATIONS = "conversations.jsonl"
# Larger images are made smaller when they are read: a model sees far fewer pixels.
MAX_SIDE = 2048
# Asked of an image that has a caption but no conversation.
ASKS_FOR_CAPTION = ("Describe the image in detail.", "Write a short caption for this image in one sentence.")


class FolderData:
    """Samples of a folder, drawn by lot with replacement.

    `name.txt` beside an image, in the folder or in one within, is its caption. A line `{"image":
    "name.png", "turns": [["question", "answer"], …]}` of `conversations.jsonl` is a conversation about it;
    one without "image" is text alone.
    """

    prompts: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        """Reads captions and conversations; images are read when they are drawn.

        Raises:
            FileNotFoundError: if there is nothing to learn from, or an image that a line names is missing.
            ValueError: if a caption or a line of the conversations cannot be read.
        """
        self.folder = folder
        self._images = sorted(p for p in folder.rglob("*") if is_image_file(p))
        self._captions = [
            (image, _caption(image.with_suffix(".txt")))
            for image in self._images
            if image.with_suffix(".txt").is_file()
        ]
        conversations = list(self._read_conversations(folder / CONVERSATIONS))
        self._seen = [entry for entry in conversations if entry[0] is not None]
        self._told = [entry for entry in conversations if entry[0] is None]
        if not self._captions and not conversations:
            raise FileNotFoundError(
                f"{folder} must hold images with captions (name.txt beside name.png) or {CONVERSATIONS}, got "
                f"{len(self._images)} images and neither; write captions first"
            )
        self.prompts = tuple(caption for _, caption in self._captions[:8])
        images = [[p.relative_to(folder).as_posix(), p.stat().st_size] for p in self._images]
        texts = [caption for _, caption in self._captions], [turns for _, turns in conversations]
        content = json.dumps([images, texts])
        self.version = f"folder-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    @property
    def shares(self) -> tuple[int, int, int]:
        """What there is to learn from, as a ratio of understanding, text and generation."""
        return int(bool(self._seen or self._captions)), int(bool(self._told)), int(bool(self._captions))

    def check(self, pipeline: JanusPipeline) -> None:
        """Writes all rows of a model once, so that a text that does not fit is found before training.

        Raises:
            ValueError: if one does not; the message says which.
        """
        unseen = np.empty((1, 1, 3), np.uint8)
        asks = max(ASKS_FOR_CAPTION, key=len)
        for image, caption in self._captions:
            try:
                conversation_row(pipeline, Sample(unseen, ((asks, caption),)))
                drawing_row(pipeline, caption, hide_caption=False)
            except ValueError as error:
                raise ValueError(f"{image.with_suffix('.txt')}: {error}") from error
        for seen, turns in (*self._seen, *self._told):
            try:
                conversation_row(pipeline, Sample(None if seen is None else unseen, turns))
            except ValueError as error:
                place = self.folder / CONVERSATIONS
                raise ValueError(f"{place}, conversation of {turns[0][0]!r}: {error}") from error

    def picture(self, rng: random.Random) -> np.ndarray:
        """Any image of the folder."""
        return _read(rng.choice(self._images))

    def regions(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[Region]]:
        """Whole images with their captions."""
        chosen = rng.choices(self._captions, k=count)
        regions = [Region(index, (caption,)) for index, (_, caption) in enumerate(chosen)]
        return [_read(image) for image, _ in chosen], regions

    def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
        """A conversation about an image, or a question for its caption."""
        index = rng.randrange(len(self._seen) + len(self._captions))
        if index < len(self._seen):
            image, turns = self._seen[index]
            assert image is not None  # those without one are in `_told`
            return Sample(_read(image), turns)
        image, caption = self._captions[index - len(self._seen)]
        return Sample(_read(image), ((rng.choice(ASKS_FOR_CAPTION), caption),))

    def text(self, rng: random.Random) -> Sample:
        """A conversation without an image."""
        return Sample(None, rng.choice(self._told)[1])

    def generation(self, rng: random.Random) -> Sample:
        """A caption and its image."""
        image, caption = rng.choice(self._captions)
        return Sample(_read(image), caption=caption)

    def _read_conversations(self, file: Path) -> list[tuple[Path | None, tuple[tuple[str, str], ...]]]:
        if not file.is_file():
            return []
        images = set(self._images)
        # Not by splitlines, which also splits at separators that JSON allows within texts.
        return [
            self._conversation(f"{file}, line {number}", line, images)
            for number, line in enumerate(_text(file).split("\n"), start=1)
            if line.strip()
        ]

    def _conversation(
        self, place: str, line: str, images: set[Path]
    ) -> tuple[Path | None, tuple[tuple[str, str], ...]]:
        try:
            entry: dict[str, Any] = json.loads(line)
            name = entry.get("image")
            if not isinstance(name, str | None):
                raise TypeError("an image is named by a text")
            turns = _turns(entry["turns"])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{place} must be {{"image": …, "turns": [["question", "answer"], …]}}, got {line[:80]!r} '
                f"({error}); mend the line"
            ) from error
        image = None if name is None else self.folder / name
        if image is not None and image not in images:
            raise FileNotFoundError(
                f"{place} must name an image in {self.folder}, got {name!r}; mend the line"
            )
        return image, turns


def _turns(turns: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(turns, list) or not turns:
        raise ValueError("turns are a list, not an empty one")
    for turn in turns:
        if not isinstance(turn, list) or len(turn) != 2:
            raise ValueError("a turn is a list of question and answer")
        if not all(isinstance(text, str) and text.strip() for text in turn):
            raise ValueError("question and answer are texts, not empty ones")
    return tuple((question, answer) for question, answer in turns)


def _caption(file: Path) -> str:
    caption = _text(file).strip()
    if not caption:
        raise ValueError(f"{file} must hold a caption, got an empty file; write one or remove the file")
    return caption


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # with or without the mark that Windows writes first
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} must be a text in UTF-8, got: {error}; save it as UTF-8") from error


def _read(image: Path) -> np.ndarray:
    """An image [H, W, 3] uint8, upright, alpha dropped as the pipeline does."""
    try:
        with Image.open(image) as picture:
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{image} must be an image that can be read, got: {error}; mend or remove it"
        ) from error
