"""Training samples, and the interface of a data set that provides them.

Pictures are uint8 arrays [H, W, 3]; "image" means a float tensor, as the pipeline takes it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Sample:
    """A conversation, with or without a picture, or a caption from which the picture is to be generated."""

    picture: np.ndarray | None  # [H, W, 3] uint8 of any size
    turns: tuple[tuple[str, str], ...] = ()  # questions and answers
    caption: str = ""


@dataclass(frozen=True)
class Region:
    """A part of a picture with the captions and phrases that hold for it."""

    picture: int  # index of the picture
    texts: tuple[str, ...]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom; fractions


@dataclass(frozen=True)
class EditSample:
    """A picture, an instruction that changes it, and the picture that this leads to.

    Without an instruction, the picture is drawn again from what the understanding encoder sees of it; if it
    `copies`, from its tokens as well.
    """

    source: np.ndarray  # [H, W, 3] uint8 of any size, as is the target
    instruction: str
    target: np.ndarray
    copies: bool = False  # the target is the source, and without the source's tokens it cannot be predicted


class TrainingData(Protocol):
    """A source of random samples; all randomness comes from the generator passed in."""

    version: str  # identifies the data in saved states and in the trained checkpoint
    prompts: tuple[str, ...]  # captions to generate during training, as a sign of progress
    description: str  # what the pictures show, as it follows "trained on"

    def picture(self, rng: random.Random) -> np.ndarray:
        """Returns a picture for the image autoencoder."""

    def regions(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[Region]]:
        """Returns pictures and regions of them, for the vision tower."""

    def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
        """Returns a conversation about a picture; `lesson` selects a subset that the data defines."""

    def text(self, rng: random.Random) -> Sample:
        """Returns a conversation without a picture."""

    def generation(self, rng: random.Random) -> Sample:
        """Returns a caption and its picture."""

    def edit(self, rng: random.Random, lesson: str = "") -> EditSample:
        """Returns an instruction with the pictures before and after it; `lesson` as for questions."""
