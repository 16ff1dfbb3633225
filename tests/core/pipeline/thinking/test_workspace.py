"""Memory of drawing with thoughts or reviews."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from support.estimates import check_estimate
from support.parametrize import slow_except
from support.sizes import shrunk_config, sized_pipeline
from support.thinking import ROLES, with_roles

# Longer than the cache is at first.
LONG = TextSampling(max_new_tokens=520, temperature=1.0)


@pytest.fixture(scope="module")
def sized() -> JanusPipeline:
    """A pipeline of Janus-Pro-1B's proportions that writes letters to the end, and whose verdict is No."""
    pipe = sized_pipeline(shrunk_config("Janus-Pro-1B"), "cpu")
    encode = pipe.prompts.encode_part
    letters = [ids[0] for ids in map(encode, "bcdfghjklmnpqrstvwxz") if len(ids) == 1]
    verdict = encode("No")[-1]

    def write(module: object, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(logits, -1000.0)
        forced[:, letters], forced[:, verdict] = 0.0, -100.0
        return forced

    pipe.model.body.lm_head.register_forward_hook(write)
    return pipe


@pytest.mark.parametrize("form", slow_except(ROLES, "janus-pro-r1"))
def test_a_run_takes_what_was_reserved(sized: JanusPipeline, form: str) -> None:
    check_estimate(
        with_roles(sized, form),
        lambda pipe: pipe.think_and_draw("A red fox.", form, TokenSampling(batch_size=3), LONG, rounds=1),
        1.5,
    )
