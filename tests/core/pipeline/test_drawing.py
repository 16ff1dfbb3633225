"""Several prompts drawn together: each image is the one that its prompt and seed give alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import FlowSampling, JanusPipeline, TokenSampling, load_pipeline
from support.reserving import Reserved

PROMPTS = ["A cat.", "A red fox in the snow under a full moon.", "Two"]
OFFSETS = [7, 4_000_000_000, 90, 12, 3, 4]
OPTIONS = (
    TokenSampling(seed=3),
    TokenSampling(temperature=0.0, guidance_scale=1.0),
    TokenSampling(batch_size=2, seed=5, top_k=40),
)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("rows_at_once", "negative"), [(2, ""), (8, "a dog that is much longer than a cat")])
def test_images_of_several_prompts_equal_single_ones(
    pipe: JanusPipeline,
    monkeypatch: pytest.MonkeyPatch,
    options: TokenSampling,
    rows_at_once: int,
    negative: str,
) -> None:
    size = options.batch_size
    offsets = OFFSETS[: 3 * size]
    alone = [
        pipe.generate(
            prompt, options, negative_prompt=negative, rows=offsets[place * size : (place + 1) * size]
        )
        for place, prompt in enumerate(PROMPTS)
    ]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    drawn = pipe.generate(PROMPTS, options, negative_prompt=negative, rows=offsets)
    assert torch.equal(drawn.tokens, torch.cat([each.tokens for each in alone]))
    torch.testing.assert_close(drawn.images, torch.cat([each.images for each in alone]))


def test_rows_are_what_is_added_to_the_seed(pipe: JanusPipeline) -> None:
    drawn = pipe.generate(PROMPTS[:2], TokenSampling(seed=3), pixels=False).tokens
    for row, prompt in enumerate(PROMPTS[:2]):
        alone = pipe.generate(prompt, TokenSampling(seed=3 + row), pixels=False).tokens
        assert torch.equal(drawn[row], alone[0])


def test_every_prompt_is_tokenized_once(pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    encode = pipe.prompts.tokenizer.encode
    monkeypatch.setattr(pipe.prompts.tokenizer, "encode", lambda text: texts.append(text) or encode(text))
    pipe.generate(["A lake.", "A red fox in the snow."], TokenSampling(), pixels=False)
    assert len(texts) == 2


def test_memory_of_several_prompts_is_reserved(pipe: JanusPipeline) -> None:
    reserved = Reserved()
    pipe.reserve, before = reserved.reserve, pipe.reserve
    try:
        pipe.generate(["A cat."] * 4, pixels=False)
        pipe.generate("A cat.", TokenSampling(batch_size=4), pixels=False)
        pipe.generate("A cat.", pixels=False)
    finally:
        pipe.reserve = before
    together, images, single = reserved
    assert images < together < 4.1 * single  # each prompt is read by itself


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": [1, 2]}, "rows must be one index for each of the 3 images, got 2; leave them out"),
        ({"rows": [1, 2, "a"]}, "rows must be a whole number, got 'a'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    pipe: JanusPipeline, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipe.generate(PROMPTS, **arguments)


def test_a_flow_draws_several_prompts_one_after_the_other(golden: Callable[[str], Any]) -> None:
    flow = load_pipeline(golden("janusflow-tiny").folder.parent, dtype=torch.float32)
    options = FlowSampling(num_steps=2, batch_size=2)
    drawn = flow.generate(PROMPTS[:2], options, pixels=False).latents
    again = flow.generate(PROMPTS[1], options, rows=[2, 3], pixels=False).latents
    assert torch.equal(drawn[2:], again)
    with pytest.raises(ValueError, match="noise must be None for several prompts or with rows, got a tensor"):
        flow.generate(PROMPTS[:2], options, noise=torch.zeros_like(drawn))
