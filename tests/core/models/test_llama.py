"""The transformer: the reference's embeddings, hidden states and logits, with any caching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEFAULT_SYSTEM_PROMPT, JanusPipeline
from janus_nodes.janus_core.models import attention
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.models.llama import Llama
from janus_nodes.janus_core.prompt_batch import PromptBatch
from support.checkpoints import randomize, small_config
from torch import Tensor

Picture = Callable[[str], Tensor]


def embedded(
    recorded: Any, pipe: JanusPipeline, picture: Picture, names: list[str]
) -> tuple[PromptBatch, Tensor]:
    """Recorded conversations as one batch, and its inputs to the body."""
    tokenizer = pipe.prompts.tokenizer
    rows = [
        pipe.prompts.encode(
            pipe.prompts.chat.render(recorded.messages(name), DEFAULT_SYSTEM_PROMPT),
            len(recorded.images(name)),
        )
        for name in names
    ]
    batch = PromptBatch.from_rows(rows, tokenizer.pad_id, tokenizer.image_id)
    pictures = [picture(image) for name in names for image in recorded.images(name)]
    # The reference ignores alpha.
    embeds = [pipe.encode_vision(image[None, ..., :3]).image_embeds for image in pictures]
    with torch.no_grad():
        return batch, pipe.model.embed_prompt(batch, torch.cat(embeds) if embeds else None)


def cache_for(body: Llama, batch_size: int, length: int, visible: Tensor | None = None) -> KVCache:
    """An empty cache."""
    cache = KVCache(body.config, batch_size, length, "cpu", torch.float32)
    if visible is not None:
        cache.mark_padding(visible)
    return cache


@pytest.mark.parametrize("name", ["text_only", "one_image", "two_images", "multi_turn", "batch"])
def test_hidden_states_and_logits_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture, name: str
) -> None:
    names = ["one_image", "text_only", "two_images"] if name == "batch" else [name]
    batch, inputs_embeds = embedded(recorded, pipe, picture, names)
    body = pipe.model.body
    kept: list[Tensor] = [inputs_embeds]
    hooks = [layer.register_forward_hook(lambda *call: kept.append(call[2])) for layer in body.layers]
    cache = cache_for(body, len(names), batch.length, batch.attention_mask if batch.padded else None)
    with torch.no_grad():
        kept.append(body(inputs_embeds, batch.position_ids, cache))
        logits = body.lm_head(kept[-1])
    for hook in hooks:
        hook.remove()
    # The reference's list holds the inputs, each layer's output but the last one's, and the final norm's.
    del kept[-2]
    hidden_last = torch.stack([states[:, -1] for states in kept])
    expected = recorded.tensor(f"understand/{name}.hidden_last")
    torch.testing.assert_close(hidden_last, expected, rtol=0, atol=1e-4)
    expected = recorded.tensor(f"understand/{name}.logits_last")
    torch.testing.assert_close(logits[:, -1], expected, rtol=0, atol=1e-4)
    if name == "one_image":
        expected = recorded.tensor("understand/one_image.inputs_embeds")
        torch.testing.assert_close(inputs_embeds, expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(logits, recorded.tensor("understand/one_image.logits"), rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def body() -> Llama:
    """A random body with another ratio of heads than the golden one, and a head size of its own."""
    llama = Llama(small_config(heads=6, kv_heads=2).body)
    randomize(llama, seed=3)
    return llama.eval().requires_grad_(False)


@pytest.fixture
def inputs(body: Llama) -> tuple[Tensor, Tensor]:
    """Two rows of 11 inputs, and their positions."""
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 11, body.config.hidden_size, generator=generator), torch.arange(11).repeat(2, 1)


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize("min_key_elements", [0, 2**17], ids=["as for many slots", "as for few"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("pieces", [[1] * 11, [5, 6], [4, 1, 1, 5], [10, 1]], ids=str)
def test_cached_pieces_equal_one_pass(
    body: Llama,
    inputs: tuple[Tensor, Tensor],
    pieces: list[int],
    padded: bool,
    min_key_elements: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "_MIN_KEY_ELEMENTS", min_key_elements)
    inputs_embeds, position_ids = inputs
    visible = None
    if padded:
        visible = torch.ones(2, 4, dtype=torch.bool)
        visible[1, :3] = False
    whole = body(inputs_embeds, position_ids, cache_for(body, 2, 11, visible))
    cache = cache_for(body, 2, 11, visible)
    parts = zip(inputs_embeds.split(pieces, dim=1), position_ids.split(pieces, dim=1), strict=True)
    outputs = torch.cat([body(embeds, positions, cache) for embeds, positions in parts], dim=1)
    torch.testing.assert_close(outputs, whole, rtol=0, atol=1e-5)


def test_padding_changes_nothing_for_the_visible_tokens(body: Llama, inputs: tuple[Tensor, Tensor]) -> None:
    inputs_embeds, position_ids = inputs
    alone = body(inputs_embeds[:1, :7], position_ids[:1, :7], cache_for(body, 1, 7))
    visible = torch.ones(2, 11, dtype=torch.bool)
    visible[0, :4] = False
    moved = torch.cat((inputs_embeds[1:, :4], inputs_embeds[:1, :7]), dim=1)
    batch = torch.cat((moved, inputs_embeds[1:]))
    positions = torch.stack(((torch.arange(11) - 4).clamp(min=0), torch.arange(11)))
    padded = body(batch, positions, cache_for(body, 2, 11, visible))
    torch.testing.assert_close(padded[:1, 4:], alone, rtol=0, atol=1e-5)
    assert bool(torch.isfinite(padded).all())


def test_later_tokens_do_not_reach_earlier_ones(body: Llama, inputs: tuple[Tensor, Tensor]) -> None:
    inputs_embeds, position_ids = inputs
    changed = inputs_embeds.clone()
    changed[:, 6:] += 1.0
    before = body(inputs_embeds, position_ids, cache_for(body, 2, 11))
    after = body(changed, position_ids, cache_for(body, 2, 11))
    torch.testing.assert_close(after[:, :6], before[:, :6], rtol=0, atol=1e-6)
    assert float((after[:, 6:] - before[:, 6:]).abs().min(dim=-1).values.max()) > 0


def test_a_full_cache_is_an_error(body: Llama, inputs: tuple[Tensor, Tensor]) -> None:
    cache = cache_for(body, 2, 15)
    body(*inputs, cache)
    with pytest.raises(
        RuntimeError, match="must have room for 11 more tokens, got 4 free slots; allocate it"
    ):
        body(*inputs, cache)
