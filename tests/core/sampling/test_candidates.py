"""Candidates: their random streams, how likely kept tokens are, and which candidate is kept."""

from __future__ import annotations

import torch
from janus_nodes.janus_core.sampling.candidates import best_candidates, candidate_rows, log_likelihood
from janus_nodes.janus_core.sampling.seeds import row_generator


def test_the_first_candidate_has_the_image_s_stream_and_no_two_share_one() -> None:
    rows = [row for image in range(300) for row in candidate_rows(image, 64)]
    assert rows[::64] == list(range(300))
    # All that the CPU's generator reads of a seed.
    assert len({row % 2**32 for row in rows}) == len(rows)
    assert candidate_rows(3, 4)[:2] == candidate_rows(3, 2)
    first = {torch.rand((), generator=row_generator(7, row)).item() for row in candidate_rows(0, 64)}
    assert len(first) == 64


def test_log_likelihood_sums_the_logarithms_of_given_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, states = torch.randn(9, 5, generator=generator), torch.randn(2, 3, 5, generator=generator)
    tokens = torch.tensor([[0, 8, 3], [1, 1, 7]])
    found = log_likelihood(lambda hidden: hidden @ weight.T, states, tokens)
    for row in range(2):
        probabilities = [(weight @ states[row, place]).exp() for place in range(3)]
        expected = sum(
            (chances[token] / chances.sum()).log()
            for chances, token in zip(probabilities, tokens[row], strict=True)
        )
        torch.testing.assert_close(found[row], expected)


def test_the_likeliest_candidate_of_each_image_is_kept_the_first_of_equals() -> None:
    tokens = torch.arange(12).view(6, 2)
    likelihood = torch.tensor([-3.0, -1.0, -2.0, -5.0, -4.0, -4.0])
    assert best_candidates(tokens, likelihood, 3).tolist() == [[2, 3], [8, 9]]
    assert torch.equal(best_candidates(tokens, likelihood, 1), tokens)
