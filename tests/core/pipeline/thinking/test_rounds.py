"""Rounds: images that are rejected are drawn again, and the best of each is kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from janus_nodes.janus_core.pipeline.answer import Answer
from janus_nodes.janus_core.pipeline.thinking.rounds import Verdict, draw_rounds
from janus_nodes.janus_core.sampling.results import DrawnTokens
from torch import Tensor


class Counting:
    """A drawer whose image i has the token 10 * round + i."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.drawn: list[list[int]] = []

    def first(self) -> DrawnTokens:
        return DrawnTokens(torch.arange(self.count)[:, None], passes=100)

    def again(self, images: Sequence[int], round: int) -> DrawnTokens:
        self.drawn.append(list(images))
        return DrawnTokens(torch.tensor([[10 * round + image] for image in images]), passes=len(images))


def decode(tokens: Tensor) -> Tensor:
    return tokens.view(-1, 1, 1, 1) / 100


def judge(chances: dict[int, float]) -> object:
    """A judge that knows the probability of every token."""

    def of(images: Sequence[int], pictures: Tensor, round: int) -> list[Verdict]:
        tokens = (pictures.flatten() * 100).round().int().tolist()
        assert [token % 10 for token in tokens] == list(images)
        return [Verdict(chances[token], chances[token] > 0.5, Answer(f"{token}")) for token in tokens]

    return of


def test_only_rejected_images_are_drawn_again_and_the_best_is_kept() -> None:
    drawer = Counting(4)
    chances = {0: 0.9, 1: 0.2, 2: 0.3, 3: 0.4, 11: 0.1, 12: 0.7, 13: 0.45, 21: 0.05, 23: 0.41}
    rounds = draw_rounds(drawer, decode, judge(chances), 2)  # type: ignore[arg-type]
    assert drawer.drawn == [[1, 2, 3], [1, 3]]
    assert rounds.first_tokens.flatten().tolist() == [0, 1, 2, 3]
    assert rounds.tokens.flatten().tolist() == [0, 1, 12, 13]
    assert rounds.kept.tolist() == [0, 0, 1, 1]
    assert torch.equal(rounds.images, decode(rounds.tokens))
    assert rounds.verdicts is not None
    torch.testing.assert_close(
        rounds.verdicts,
        torch.tensor(
            [[0.9, torch.nan, torch.nan], [0.2, 0.1, 0.05], [0.3, 0.7, torch.nan], [0.4, 0.45, 0.41]]
        ),
        equal_nan=True,
    )
    assert rounds.reflections == [["0"], ["1", "11", "21"], ["2", "12"], ["3", "13", "23"]]


def test_of_equal_images_the_earlier_is_kept() -> None:
    rounds = draw_rounds(Counting(1), decode, judge({0: 0.2, 10: 0.2}), 1)  # type: ignore[arg-type]
    assert rounds.kept.tolist() == [0]


def test_without_rounds_or_a_judge_nothing_is_judged() -> None:
    for judging, count in ((None, 3), (judge({}), 0)):
        rounds = draw_rounds(Counting(2), decode, judging, count)  # type: ignore[arg-type]
        assert rounds.verdicts is None
        assert rounds.tokens is rounds.first_tokens
