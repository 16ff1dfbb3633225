"""A folder of images with captions or conversations as training data."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .samples import Sample

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
CONVERSATIONS = "conversations.jsonl"
# Asked of an image that has a caption but no conversation.
ASKS_FOR_CAPTION = ("Describe the image in detail.", "Write a short caption for this image in one sentence.")


class FolderData:
    """Samples of a folder, drawn by lot with replacement.

    `name.txt` beside an image is its caption. A line `{"image": "name.png", "turns": [["question",
    "answer"], …]}` of `conversations.jsonl` is a conversation about it; one without "image" is text alone.
    """

    prompts: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        """Reads captions and conversations; images are read when they are drawn.

        Raises:
            FileNotFoundError: if there is nothing to learn from, or an image that a line names is missing.
            ValueError: if a line of the conversations cannot be read.
        """
        self.folder = folder
        self._images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        self._captions = [
            (image, image.with_suffix(".txt").read_text(encoding="utf-8").strip())
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
        names = json.dumps([[str(p.relative_to(folder)), p.stat().st_size] for p in self._images])
        self.version = f"folder-{hashlib.sha256(names.encode()).hexdigest()[:12]}"

    @property
    def shares(self) -> tuple[int, int, int]:
        """What there is to learn from, as a ratio of understanding, text and generation."""
        return int(bool(self._seen or self._captions)), int(bool(self._told)), int(bool(self._captions))

    def picture(self, rng: random.Random) -> np.ndarray:
        """Any image of the folder."""
        return _read(rng.choice(self._images))

    def pairs(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[str]]:
        """Images with their captions."""
        chosen = rng.choices(self._captions, k=count)
        return [_read(image) for image, _ in chosen], [caption for _, caption in chosen]

    def understanding(self, rng: random.Random) -> Sample:
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
        return [
            self._conversation(f"{file}, line {number}", line)
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            if line.strip()
        ]

    def _conversation(self, place: str, line: str) -> tuple[Path | None, tuple[tuple[str, str], ...]]:
        try:
            entry: dict[str, Any] = json.loads(line)
            turns = tuple((str(question), str(answer)) for question, answer in entry["turns"])
            name = entry.get("image")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{place} must be {{"image": …, "turns": [["question", "answer"], …]}}, got {line[:80]!r} '
                f"({error}); mend the line"
            ) from error
        image = None if name is None else self.folder / name
        if image is not None and image not in self._images:
            raise FileNotFoundError(
                f"{place} must name an image in {self.folder}, got {name!r}; mend the line"
            )
        return image, turns


def _read(image: Path) -> np.ndarray:
    with Image.open(image) as picture:
        return np.asarray(picture.convert("RGB"))
