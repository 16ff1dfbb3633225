"""Rounds of drawing and judging, until an image is right or the rounds are used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...sampling.inpainting import candidate_indices
from ...sampling.results import DrawnTokens
from ...sampling.steps import OnStep, part_of
from ..answer import Answer


@dataclass(frozen=True)
class Verdict:
    """The judgement of an image.

    Attributes:
        yes: probability of Yes rather than No.
        keeps: whether the image is kept, so that no other is drawn.
        reflection: what the model wrote about it; None if it wrote nothing more.
    """

    yes: float
    keeps: bool
    reflection: Answer | None = None


class Drawer(Protocol):
    """Draws the images of a request, and some of them again."""

    def first(self) -> DrawnTokens:
        """Draws all images."""

    def again(self, images: Sequence[int], round: int) -> DrawnTokens:
        """Draws some images once more."""


Judge = Callable[[Sequence[int], Tensor, int], list[Verdict]]
"""Judges some images, given as pixels [n, H, W, 3], in a round."""


@dataclass(frozen=True)
class DrawnRounds:
    """The images of all rounds.

    Attributes:
        tokens: [B, N] of the images that were kept.
        images: [B, H, W, 3] of these.
        first_tokens: [B, N] of the first round.
        first_images: [B, H, W, 3] of these.
        verdicts: [B, 1 + rounds] float32, P(Yes), NaN where nothing was drawn; None if nothing was judged.
        reflections: of each image, what was written about it in each round.
        kept: [B] int64, the round of the image that was kept.
        passes: as in `DrawnTokens`, of all rounds.
    """

    tokens: Tensor
    images: Tensor
    first_tokens: Tensor
    first_images: Tensor
    verdicts: Tensor | None
    reflections: list[list[Answer]]
    kept: Tensor
    passes: int


def draw_rounds(
    drawer: Drawer, decode: Callable[[Tensor], Tensor], judge: Judge | None, rounds: int
) -> DrawnRounds:
    """Draws images; a judge has those that it rejects drawn again, for at most `rounds` rounds.

    Of all rounds' images, the one with the highest P(Yes) is kept, the earlier one of equals. So its score is
    never lower than that of the first.
    """
    drawn = drawer.first()
    tokens, passes = drawn.tokens, drawn.passes
    images = decode(tokens)
    count = len(tokens)
    kept = torch.zeros(count, dtype=torch.int64)
    reflections: list[list[Answer]] = [[] for _ in range(count)]
    if judge is None or rounds == 0:
        return DrawnRounds(tokens, images, tokens, images, None, reflections, kept, passes)
    best_tokens, best_images = tokens.clone(), images.clone()
    verdicts = torch.full((count, 1 + rounds), torch.nan)
    open_images, new_tokens, new_images = list(range(count)), tokens, images
    for round in range(1 + rounds):
        rejected = []
        for index, verdict in enumerate(judge(open_images, new_images, round)):
            image = open_images[index]
            verdicts[image, round] = verdict.yes
            if verdict.reflection is not None:
                reflections[image].append(verdict.reflection)
            if round > 0 and verdict.yes > verdicts[image, kept[image]]:
                kept[image] = round
                best_tokens[image], best_images[image] = new_tokens[index], new_images[index]
            if not verdict.keeps:
                rejected.append(image)
        if not rejected or round == rounds:
            break
        drawn = drawer.again(rejected, round + 1)
        open_images, new_tokens, new_images = rejected, drawn.tokens, decode(drawn.tokens)
        passes += drawn.passes
    return DrawnRounds(best_tokens, best_images, tokens, images, verdicts, reflections, kept, passes)


def part_of_round(on_step: OnStep, round: int, rounds: int, number: int, parts: int) -> OnStep:
    """Reports the steps of a part of a round as steps of all rounds, which have `parts` parts each."""
    return part_of(on_step, round * parts + number, rounds * parts)


def random_streams(images: Sequence[int], round: int) -> list[int]:
    """Indices of the random streams of images in a round; the first round has each image's own."""
    return [candidate_indices(image, round + 1)[round] for image in images]
