"""Sampling from logits equals transformers' filters and torch.multinomial."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import TextSampling, TokenSampling
from janus_nodes.janus_core.sampling.logits import (
    TokenSampler,
    check_finite,
    keep_likely,
    penalize_repetition,
)
from support.sampling import published
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


def random_logits(rows: int = 6, size: int = 300, seed: int = 0) -> Tensor:
    """Logits of usual spread, all different."""
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("top_k", [1, 2, 17, 299, 300, 1000])
def test_top_k_equals_transformers(top_k: int) -> None:
    logits = random_logits()
    expected = TopKLogitsWarper(top_k)(None, logits)  # type: ignore[arg-type]
    assert torch.equal(keep_likely(logits, top_k, 1.0), expected)


@pytest.mark.parametrize("top_p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p_equals_transformers(top_p: float) -> None:
    logits = random_logits()
    expected = TopPLogitsWarper(top_p)(None, logits)  # type: ignore[arg-type]
    assert torch.equal(keep_likely(logits, 0, top_p), expected)


@pytest.mark.parametrize("min_p", [0.001, 0.1, 0.5, 1.0])
def test_min_p_equals_transformers(min_p: float) -> None:
    logits = random_logits()
    expected = MinPLogitsWarper(min_p)(None, logits)  # type: ignore[arg-type]
    assert torch.equal(keep_likely(logits, 0, 1.0, min_p), expected)


def test_filters_combine_as_in_transformers() -> None:
    logits = random_logits()
    expected = logits
    for warper in (TopKLogitsWarper(40), TopPLogitsWarper(0.8), MinPLogitsWarper(0.05)):
        expected = warper(None, expected)  # type: ignore[arg-type]
    assert torch.equal(keep_likely(logits, 40, 0.8, 0.05), expected)
    assert torch.equal(keep_likely(logits, 0, 1.0, 0.0), logits)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.3, 5.0])
def test_repetition_penalty_equals_transformers(penalty: float) -> None:
    logits = random_logits()
    tokens = torch.randint(0, 300, (6, 9), generator=torch.Generator().manual_seed(1))
    tokens[:, 1] = tokens[:, 0]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits)
    assert torch.equal(penalize_repetition(logits, tokens, penalty), expected)


def test_repetition_penalty_leaves_the_first_token_alone() -> None:
    logits = random_logits()
    assert penalize_repetition(logits, torch.zeros(6, 0, dtype=torch.long), 2.0) is logits


@pytest.mark.parametrize("seed", [0, 7, 1234, 2**64 - 1])
def test_a_single_sequence_draws_what_torch_multinomial_draws(seed: int) -> None:
    drawer = TokenSampler(published(TokenSampling(temperature=0.7, seed=seed)), [0])
    generator = torch.Generator().manual_seed(seed)
    for step in range(20):
        logits = random_logits(1, 500, step)
        expected = torch.multinomial((logits / 0.7).softmax(dim=-1), 1, generator=generator)[:, 0]
        assert torch.equal(drawer.draw(logits), expected)


def test_a_sequence_draws_the_same_in_any_batch() -> None:
    options = TextSampling(temperature=1.0, top_p=0.9, seed=100)
    drawer = TokenSampler(options, range(6))
    steps = [random_logits(seed=step) for step in range(8)]
    together = torch.stack([drawer.draw(logits) for logits in steps], dim=1)
    for row in range(6):
        alone = TokenSampler(options, [row])
        assert [int(alone.draw(logits[row : row + 1])) for logits in steps] == together[row].tolist()
    assert len({tuple(row) for row in together.tolist()}) == 6


def test_tokens_drawn_ahead_keep_their_noise_until_they_are_settled() -> None:
    options, logits = TextSampling(temperature=1.0, top_p=0.9, seed=100), random_logits(10).view(2, 5, -1)
    alone = [TokenSampler(options, [row]) for row in range(2)]
    expected = [[int(alone[row].draw(logits[row, place, None])) for place in range(5)] for row in range(2)]
    drawer = TokenSampler(options, range(2))
    for _ in range(2):
        assert drawer.draw_ahead(logits[:, :3]).tolist() == [row[:3] for row in expected]
    drawer.settle([1, 2])
    rest = torch.stack((logits[0, 1:4], logits[1, 2:]))
    assert drawer.draw_ahead(rest).tolist() == [expected[0][1:4], expected[1][2:]]


def test_seeds_wrap_around_at_their_end() -> None:
    drawer = TokenSampler(TextSampling(temperature=1.0, seed=2**64 - 1), [1])
    first = TokenSampler(TextSampling(temperature=1.0, seed=0), [0])
    assert torch.equal(drawer.draw(random_logits(1)), first.draw(random_logits(1)))


def test_temperature_zero_takes_the_most_likely_token_whatever_the_filters() -> None:
    logits = random_logits()
    drawer = TokenSampler(TextSampling(top_k=3, top_p=0.1, seed=9), range(6))
    assert torch.equal(drawer.draw(logits), logits.argmax(dim=-1))


def test_draws_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawer = TokenSampler(published(TokenSampling(seed=5)), range(4000))
    drawn = drawer.draw(probabilities.log().repeat(4000, 1)).bincount(minlength=4) / 4000
    torch.testing.assert_close(drawn, probabilities, rtol=0, atol=0.03)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    TokenSampler(published(TokenSampling()), range(3)).draw(random_logits(3))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_broken_logits_are_an_error(value: float) -> None:
    check_finite(random_logits(), torch.float32)
    logits = random_logits().half()
    logits[3, 5] = value
    with pytest.raises(RuntimeError, match=r"infinity from a model in torch\.float16; load .* in bf16"):
        check_finite(logits, logits.dtype)
