"""Memory of drawing with thoughts or reviews."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from janus_nodes.janus_core.sampling import text
from support.estimates import check_estimate
from support.parametrize import slow_except
from support.sizes import released_config, shrunk_config, sized_pipeline
from support.thinking import ROLES, with_roles

SLOTS = 16  # by which the cache of a text grows
LONG = TextSampling(max_new_tokens=SLOTS + 4, temperature=1.0)
# On `meta`, a text ends with its first token, so no cache would grow.
SHORT = TextSampling(max_new_tokens=SLOTS, temperature=1.0)


@pytest.fixture(autouse=True)
def short_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "CACHE_GROWTH", SLOTS)


def writing(pipe: JanusPipeline) -> JanusPipeline:
    """Has a model write letters to the end of every text, and only No as a verdict."""
    encode = pipe.prompts.encode_part
    letters = [ids[0] for ids in map(encode, "bcdfghjklmnpqrstvwxz") if len(ids) == 1]
    verdict = encode("No")[-1]

    def write(module: object, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        forced = torch.full_like(logits, -1000.0)
        forced[..., letters], forced[..., verdict] = 0.0, -100.0
        return forced

    pipe.model.body.lm_head.register_forward_hook(write)
    return pipe


@pytest.fixture(scope="module")
def sized() -> JanusPipeline:
    """A pipeline of Janus-Pro-1B's proportions."""
    return writing(sized_pipeline(shrunk_config("Janus-Pro-1B"), "cpu"))


def check(pipe: JanusPipeline, form: str, thinking: TextSampling) -> None:
    options = TokenSampling(batch_size=3)
    check_estimate(
        with_roles(pipe, form),
        lambda own: own.think_and_draw("A red fox.", form, options, thinking, rounds=1),
        1.3,
    )


@pytest.mark.parametrize("form", slow_except(ROLES, "janus-pro-r1"))
def test_a_run_takes_what_was_reserved(sized: JanusPipeline, form: str) -> None:
    check(sized, form, LONG)


@pytest.mark.slow
@pytest.mark.parametrize(("checkpoint", "quantized"), [("Janus-Pro-1B", "int8"), ("Janus-Pro-7B", None)])
def test_a_run_of_released_width_takes_what_was_reserved(checkpoint: str, quantized: str | None) -> None:
    config = released_config(checkpoint)
    # Fewer layers and tokens, each of which takes the same memory.
    config = replace(
        config,
        body=replace(config.body, num_hidden_layers=4),
        generation=replace(config.generation, image_size=96),
    )
    pipe = sized_pipeline(config, "meta", torch.bfloat16, quantized)
    for form in ("t2i-r1", "got-r1", "reasongen-r1"):  # they judge no images, whose pixels `meta` lacks
        check(pipe, form, SHORT)
