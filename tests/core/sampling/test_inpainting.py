"""Inpainting candidates: their random streams, the log-probability of kept tokens, and the choice."""

from __future__ import annotations

import torch
from janus_nodes.janus_core.sampling.inpainting import best_candidates, candidate_indices, sum_log_probs
from janus_nodes.janus_core.sampling.seeds import seeded_generator


def test_the_first_candidate_has_the_image_s_stream_and_no_two_share_one() -> None:
    rows = [row for image in range(300) for row in candidate_indices(image, 64)]
    assert rows[::64] == list(range(300))
    # All that the CPU's generator reads of a seed.
    assert len({row % 2**32 for row in rows}) == len(rows)
    assert candidate_indices(3, 4)[:2] == candidate_indices(3, 2)
    first = {torch.rand((), generator=seeded_generator(7, row)).item() for row in candidate_indices(0, 64)}
    assert len(first) == 64


def test_sum_log_probs_sums_the_logarithms_of_given_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, states = torch.randn(9, 5, generator=generator), torch.randn(2, 3, 5, generator=generator)
    tokens = torch.tensor([[0, 8, 3], [1, 1, 7]])
    for row in range(2):
        found = sum_log_probs(lambda hidden: hidden @ weight.T, states[row], tokens[row])
        probabilities = [(weight @ states[row, place]).exp() for place in range(3)]
        expected = sum(
            (chances[token] / chances.sum()).log()
            for chances, token in zip(probabilities, tokens[row], strict=True)
        )
        torch.testing.assert_close(found, expected)


def test_the_most_likely_candidate_of_each_image_is_kept_the_first_of_equals() -> None:
    tokens = torch.arange(12).view(6, 2)
    log_prob = torch.tensor([-3.0, -1.0, -2.0, -5.0, -4.0, -4.0])
    assert best_candidates(tokens, log_prob, 3).tolist() == [[2, 3], [8, 9]]
    assert torch.equal(best_candidates(tokens, log_prob, 1), tokens)
