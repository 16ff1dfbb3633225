"""Prefill and the image decoder: copies, known tokens and chunks of tokens equal plain reading."""

from __future__ import annotations

import weakref
from functools import partial

import pytest
import torch
from janus_nodes.janus_core.models.janus import Janus
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling import decoding
from janus_nodes.janus_core.sampling.decoding import ImageDecoder, prefill
from janus_nodes.janus_core.sampling.guidance import guide
from support.checkpoints import random_model, small_config
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def model() -> Janus:
    """A random model."""
    return random_model(small_config(), seed=4)


@pytest.fixture
def prompt() -> PromptBatch:
    """A conditional and a shorter unconditional prompt."""
    return PromptBatch.from_rows([[3, 1, 4, 1, 5, 9, 2, 6], [7, 7, 7]], 0, -1)


def decoder_of(model: Janus, prompt: PromptBatch, start: Tensor | None = None) -> ImageDecoder:
    combine = partial(guide, guidance_scale=3.0)
    return ImageDecoder(model, prompt, model.embed_prompt(prompt), combine, 2, start)


def test_copies_are_adjacent_and_keep_their_padding(model: Janus, prompt: PromptBatch) -> None:
    inputs_embeds = model.embed_prompt(prompt)
    once, states = prefill(model, prompt, inputs_embeds, num_new=5)
    copied, copied_states = prefill(model, prompt, inputs_embeds, num_new=5, copies=3)
    assert (once.length, once.max_length) == (copied.length, copied.max_length) == (8, 13)
    assert torch.equal(copied_states, states.repeat_interleave(3, dim=0))
    for found, expected in ((copied.keys, once.keys), (copied.values, once.values)):
        assert torch.equal(found[..., :8, :], expected.repeat_interleave(3, dim=1)[..., :8, :])
    assert copied.visible is not None and once.visible is not None
    assert torch.equal(copied.visible, once.visible.repeat_interleave(3, dim=0))


def test_a_prompt_in_two_parts_equals_one_prefill(model: Janus) -> None:
    first = PromptBatch.from_rows([[3, 1, 4], [3, 1, 4]], 0, -1)
    whole = PromptBatch.from_rows([[3, 1, 4, 1, 5, 9, 2, 6], [3, 1, 4, 7, 7]], 0, -1)
    _, expected = prefill(model, whole, model.embed_prompt(whole))
    cache, _ = prefill(model, first, model.embed_prompt(first))
    rest = whole.part(3)
    extended, states = prefill(model, rest, model.embed_prompt(rest), num_new=2, cache=cache)
    assert extended is cache
    assert (cache.length, cache.max_length) == (8, 10)
    torch.testing.assert_close(states, expected, **CLOSE)


@pytest.mark.parametrize("known", [0, 1, 5])
@pytest.mark.parametrize("chunks", [[6], [1, 5], [2, 1, 3]], ids=str)
def test_tokens_in_chunks_equal_tokens_one_by_one(
    model: Janus, prompt: PromptBatch, known: int, chunks: list[int]
) -> None:
    start = torch.randint(64, (known,), generator=torch.Generator().manual_seed(1))
    tokens = torch.randint(64, (2, 6), generator=torch.Generator().manual_seed(2))
    single = decoder_of(model, prompt)
    for number, token in enumerate(torch.cat((start.repeat(2, 1), tokens), dim=1).split(1, dim=1)):
        single.read(token, [number, number])
    decoder = decoder_of(model, prompt, start[None] if known else None)
    for chunk in tokens.split(chunks, dim=1):
        decoder.read(chunk, [known, known])
        known += chunk.shape[1]
        assert decoder.hidden_states.shape[:2] == chunk.shape
    decoder.check_finite()
    torch.testing.assert_close(decoder.logits, single.logits, **CLOSE)
    torch.testing.assert_close(decoder.hidden_states[:, -1:], single.hidden_states, **CLOSE)
    assert decoder.logits.dtype is torch.float32


def test_hidden_states_are_those_of_the_first_condition(model: Janus, prompt: PromptBatch) -> None:
    tokens = torch.randint(64, (2, 3), generator=torch.Generator().manual_seed(2))
    guided = decoder_of(model, prompt)
    guided.read(tokens, [0, 0])
    alone = PromptBatch.from_rows([[3, 1, 4, 1, 5, 9, 2, 6]], 0, -1)
    plain = ImageDecoder(model, alone, model.embed_prompt(alone), lambda logits: logits, 2)
    plain.read(tokens, [0, 0])
    torch.testing.assert_close(guided.hidden_states, plain.hidden_states, **CLOSE)


def test_images_at_places_of_their_own_equal_images_alone(model: Janus, prompt: PromptBatch) -> None:
    tokens = torch.randint(64, (2, 8), generator=torch.Generator().manual_seed(3))
    together = decoder_of(model, prompt)
    together.read(tokens[:, :3], [0, 0])
    # The first image goes back by two tokens, the second goes on; both read a wrong token first.
    for wrong in (1, 0):
        fed = torch.stack((tokens[0, 1:5], tokens[1, 3:7]))
        fed[:, 2] = (fed[:, 2] + wrong) % 64
        together.read(fed, [1, 3], torch.tensor([[0, 3], [1, 3]]))
    together.read(torch.stack((tokens[0, 5:7], tokens[1, 7:].repeat(2))), [5, 7], torch.tensor([[1], [0]]))
    for row, length in ((0, 7), (1, 8)):
        alone = decoder_of(model, prompt)
        alone.read(tokens[row, :length].repeat(2, 1), [0, 0])
        torch.testing.assert_close(together.logits[row], alone.logits[0], **CLOSE)
    together.check_finite()


@pytest.mark.parametrize("starts", [[3, 3], [1, 3]], ids=str)
def test_more_vectors_than_layers_read_alike_are_read_in_parts(
    model: Janus, prompt: PromptBatch, monkeypatch: pytest.MonkeyPatch, starts: list[int]
) -> None:
    tokens = torch.randint(64, (2, 8), generator=torch.Generator().manual_seed(3))
    found = []
    for most, passes in ((100, 2), (8, 5), (1, 8)):
        monkeypatch.setattr(decoding, "exact_vectors", lambda body, most=most: most)
        decoder = decoder_of(model, prompt)
        decoder.read(tokens[:, :3], [0, 0])
        fed = torch.stack([row[start : start + 5] for row, start in zip(tokens, starts, strict=True)])
        decoder.read(fed, starts, torch.tensor([[0, 4], [2, 3]]))
        assert decoder.passes == passes
        found.append((decoder.logits, decoder.hidden_states))
    for parts in found[1:]:
        torch.testing.assert_close(parts, found[0], **CLOSE)


@pytest.mark.parametrize("staggered", [False, True])
def test_the_cache_is_freed_with_the_decoder(model: Janus, prompt: PromptBatch, staggered: bool) -> None:
    decoder = decoder_of(model, prompt)
    decoder.read(torch.tensor([[5], [5]]), [0, 0])
    decoder.read(torch.tensor([[5], [5]]), [0, int(staggered)], torch.zeros(2, 1, dtype=torch.long))
    cache = weakref.ref(decoder._cache)
    del decoder
    assert cache() is None  # at once, and not when Python collects cycles
