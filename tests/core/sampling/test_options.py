"""Sampling options: values out of range are refused by name, value and range."""

from __future__ import annotations

from typing import Any

import pytest
from janus_nodes.janus_core import EditSampling, FlowSampling, TextSampling, TokenSampling
from janus_nodes.janus_core.sampling.options import own_names

NAN = float("nan")
BOTH = [
    ("temperature", -0.1, "at least 0"),
    ("temperature", NAN, "at least 0"),
    ("temperature", float("inf"), "finite"),
    ("top_k", -1, "at least 0"),
    ("top_p", 0.0, "above 0 and at most 1"),
    ("top_p", 1.1, "above 0 and at most 1"),
    ("top_p", NAN, "above 0 and at most 1"),
    ("seed", -1, "between 0 and 18446744073709551615"),
    ("seed", 2**64, "between 0 and 18446744073709551615"),
]
CASES = [
    *((kind, *case) for kind in (TextSampling, TokenSampling, EditSampling) for case in BOTH),
    (TextSampling, "max_new_tokens", 0, "at least 1"),
    (TextSampling, "min_p", -0.1, "between 0 and 1"),
    (TextSampling, "min_p", 1.1, "between 0 and 1"),
    (TextSampling, "min_p", NAN, "between 0 and 1"),
    (TextSampling, "repetition_penalty", 0.0, "above 0"),
    (TextSampling, "repetition_penalty", NAN, "above 0"),
    (TextSampling, "repetition_penalty", float("inf"), "finite"),
    (TokenSampling, "guidance_scale", -1.0, "at least 0"),
    (TokenSampling, "guidance_scale", NAN, "at least 0"),
    (TokenSampling, "guidance_scale", float("inf"), "finite"),
    (TokenSampling, "batch_size", 0, "at least 1"),
    (EditSampling, "batch_size", 0, "at least 1"),
    (EditSampling, "source_scale", -1.0, "at least 0"),
    (EditSampling, "source_scale", NAN, "at least 0"),
    (EditSampling, "source_scale", float("inf"), "finite"),
    (EditSampling, "candidates", 0, "at least 1"),
    (EditSampling, "strength", -0.1, "between 0 and 1"),
    (EditSampling, "strength", 1.1, "between 0 and 1"),
    (EditSampling, "strength", NAN, "between 0 and 1"),
]


@pytest.mark.parametrize(("kind", "name", "value", "rule"), CASES)
def test_values_out_of_range_are_refused(kind: Any, name: str, value: float, rule: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*{rule}.*, got {value}; set it within that range"):
        kind(**{name: value})


@pytest.mark.parametrize("value", [2.5, 2.0, "3"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((kind, "seed") for kind in (TextSampling, TokenSampling, FlowSampling)),
        *((kind, "batch_size") for kind in (TokenSampling, FlowSampling)),
        (TextSampling, "max_new_tokens"),
        (TokenSampling, "top_k"),
        (EditSampling, "candidates"),
        (FlowSampling, "num_steps"),
        (TokenSampling, "lookahead"),
    ],
)
def test_counts_that_are_not_whole_are_refused(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number, got {value!r}; round it"):
        kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), [(TextSampling, "temperature"), (FlowSampling, "denoise")])
def test_only_what_a_checkpoint_can_state_may_be_none(kind: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number, got None"):
        kind(**{name: None})
    assert own_names(TokenSampling) == ("guidance_scale", "temperature", "top_k", "top_p")
    assert own_names(FlowSampling) == ("num_steps", "guidance_scale")


@pytest.mark.parametrize("kind", [TextSampling, TokenSampling])
def test_the_ends_of_every_range_are_allowed(kind: Any) -> None:
    kind(temperature=0.0, top_k=0, top_p=1.0, seed=2**64 - 1)
    kind(temperature=100.0, top_k=10**6, top_p=1e-9, seed=0)


def test_ends_of_the_other_ranges_are_allowed() -> None:
    TextSampling(min_p=1.0, repetition_penalty=0.01, max_new_tokens=1)
    TokenSampling(guidance_scale=0.0, batch_size=1, lookahead=1)
    EditSampling(source_scale=0.0, candidates=1, strength=0.0)
    EditSampling(source_scale=100.0, candidates=10**6, strength=1.0)
