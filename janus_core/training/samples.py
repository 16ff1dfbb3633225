"""What training is fed with."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Sample:
    """A conversation, about a picture or not, or a caption with its picture.

    Attributes:
        picture: [H, W, 3] uint8 of any size; None for text alone.
        turns: questions and answers in order.
        caption: what the picture is to be drawn from; without one, the picture is asked about.
    """

    picture: np.ndarray | None
    turns: tuple[tuple[str, str], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Region:
    """A part of a picture, and what is true of it.

    Attributes:
        picture: index of the picture that it is a part of.
        texts: captions and phrases that hold for it.
        box: left, upper, right and lower edge, as shares of the picture's sides.
    """

    picture: int
    texts: tuple[str, ...]
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


class Data(Protocol):
    """Where samples come from. The generator that is passed in decides everything.

    Attributes:
        version: names the data in what a finished model says of itself.
        prompts: captions that a model in training draws, to show how far it is.
    """

    version: str
    prompts: tuple[str, ...]

    def picture(self, rng: random.Random) -> np.ndarray:
        """A picture for the image tokenizer."""

    def regions(self, rng: random.Random, count: int) -> tuple[list[np.ndarray], list[Region]]:
        """Pictures and what is said of them, for the understanding encoder."""

    def understanding(self, rng: random.Random, lesson: str = "") -> Sample:
        """A picture and a conversation about it; of a lesson that the data knows, if one is named."""

    def text(self, rng: random.Random) -> Sample:
        """A conversation without a picture."""

    def generation(self, rng: random.Random) -> Sample:
        """A caption and its picture."""
