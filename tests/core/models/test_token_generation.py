"""Token generation: the reference's embeddings and logits of image tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline

pytestmark = pytest.mark.usefixtures("no_grad")


def test_embedded_tokens_equal_the_reference(recorded: Any, pipe: JanusPipeline) -> None:
    first = recorded.tensor("imagegen/greedy_cfg5.tokens")[:, :1].long()
    expected = recorded.tensor("imagegen/greedy_cfg5.step1.inputs_embeds")
    found = pipe.model.generation.embed_tokens(first.repeat(2, 1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_head_turns_hidden_states_into_the_recorded_logits(recorded: Any, pipe: JanusPipeline) -> None:
    logits = pipe.model.generation.head(recorded.tensor("imagegen/greedy_cfg5.step0.hidden")[:, None])[:, 0]
    expected = [recorded.tensor(f"imagegen/greedy_cfg5.step0.{kind}") for kind in ("cond", "uncond")]
    torch.testing.assert_close(logits, torch.cat(expected), rtol=0, atol=1e-4)


def test_the_embedding_is_not_the_codebook(pipe: JanusPipeline) -> None:
    generation = pipe.model.generation
    assert generation.embed.weight.shape == generation.vq.codebook.weight.shape
    assert not torch.equal(generation.embed.weight, generation.vq.codebook.weight)


def test_decoded_pixels_stay_in_range(pipe: JanusPipeline) -> None:
    pixels = pipe.model.generation.decode(torch.arange(16).view(1, 16))
    assert float(pixels.abs().max()) <= 1.0
