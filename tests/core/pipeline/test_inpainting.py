"""Redrawing under a mask: what stays, what changes, which candidate is kept, and no effect of splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import ceil
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, TokenSampling
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.pipeline.edit_request import EditRequest
from janus_nodes.janus_core.pipeline.inpainting import InpaintingPlan, plan_inpainting
from janus_nodes.janus_core.sampling.guidance import guide
from janus_nodes.janus_core.sampling.inpainting import MaskedImages, inpaint_tokens
from support.drawing import traced
from support.parametrize import slow_except
from support.sampling import published
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

PROMPT = "A small harbour beside a lighthouse."
Picture = Callable[[str], Tensor]


def rectangle(height: int, width: int) -> Tensor:
    """A mask of the middle of a picture."""
    mask = torch.zeros(height, width)
    mask[height // 3 : 2 * height // 3, width // 4 : 2 * width // 3] = 1
    return mask


VARIED = published(EditSampling(guidance_scale=1.5, temperature=3.0, seed=11, candidates=6))


def noise(height: int, width: int, channels: int = 3) -> Tensor:
    """Random colours."""
    return torch.rand(height, width, channels, generator=torch.Generator().manual_seed(height + width))


@pytest.mark.parametrize(
    ("size", "channels"),
    slow_except([((64, 64), 3), ((40, 70), 3), ((150, 90), 4), ((7, 90), 1)], ((40, 70), 3), ((150, 90), 4)),
    ids=str,
)
def test_pixels_and_tokens_outside_the_mask_are_the_source_s(
    pipe: JanusPipeline, size: tuple[int, int], channels: int
) -> None:
    image, mask = noise(*size, channels), rectangle(*size)
    edited = pipe.edit(image, PROMPT, EditSampling(batch_size=2, candidates=2, seed=3), mask=mask)
    source = image.expand(*size, max(channels, 3))  # an alpha channel is kept
    assert (edited.images.shape, edited.images.dtype) == ((2, *source.shape), torch.float32)
    assert torch.equal(edited.images[:, mask == 0], source[mask == 0].expand(2, -1, -1))
    assert bool((edited.images[:, mask > 0] != source[mask > 0]).any(dim=-1).float().mean() > 0.9)
    assert torch.equal(edited.changed, mask.expand(2, -1, -1))
    frame = pipe.image_processor.frame(size[1], size[0])
    cells = torch.zeros(4, 4, dtype=torch.bool)
    for y, x in mask.nonzero().tolist():
        left, top = frame.left + x * frame.width / size[1], frame.top + y * frame.height / size[0]
        right, bottom = left + frame.width / size[1], top + frame.height / size[0]
        cells[int(top // 16) : ceil(bottom / 16), int(left // 16) : ceil(right / 16)] = True
    cells = cells.flatten()
    source_tokens = pipe.encode_tokens(image[None])[0]
    assert torch.equal(edited.tokens[:, ~cells], source_tokens[~cells].expand(2, -1))
    assert not torch.equal(edited.tokens[:, cells], source_tokens[cells].expand(2, -1))


def test_strength_0_gives_the_source_and_says_so(pipe: JanusPipeline) -> None:
    image = noise(40, 70)
    with traced(pipe.model) as trace:
        edited = pipe.edit(image, PROMPT, EditSampling(batch_size=2, strength=0.0), mask=torch.ones(40, 70))
    assert trace.rows == []
    assert torch.equal(edited.images, image.expand(2, -1, -1, -1))
    assert torch.equal(edited.tokens, pipe.encode_tokens(image[None]).expand(2, -1))
    assert not bool(edited.changed.any())
    assert edited.notes == ("Nothing has changed: strength is 0.",)


@pytest.mark.parametrize(
    ("size", "scale"),
    slow_except(product(((64, 64), (40, 70)), (5.0, 1.0)), ((64, 64), 5.0), ((40, 70), 1.0)),
)
def test_a_whole_mask_draws_as_generate_does(
    pipe: JanusPipeline, size: tuple[int, int], scale: float
) -> None:
    drawn = pipe.generate(PROMPT, TokenSampling(guidance_scale=scale, seed=5, batch_size=2))
    options = EditSampling(guidance_scale=scale, seed=5, batch_size=2)
    edited = pipe.edit(noise(*size), PROMPT, options, mask=torch.ones(size))
    assert torch.equal(edited.tokens, drawn.tokens)
    assert bool(edited.changed.all())
    if size == (64, 64):
        assert torch.equal(edited.images, drawn.images)


def planned(pipe: JanusPipeline, image: Tensor, options: EditSampling, mask: Tensor) -> InpaintingPlan:
    """What would be drawn of an image [H, W, C]."""
    return plan_inpainting(pipe, EditRequest(image[None], PROMPT, published(options), "mask", mask[None]))


def whole_logits(pipe: JanusPipeline, prompt: Any, tokens: Tensor) -> Tensor:
    """Logits [R, N, V] of every token of an image [N], read at once behind each row of a prompt."""
    rows = prompt.input_ids.shape[0]
    image = pipe.model.generation.embed_tokens(tokens[None]).expand(rows, -1, -1)
    embeds = torch.cat((pipe.model.embed_prompt(prompt), image), dim=1)
    cache = KVCache(pipe.model.config.body, rows, embeds.shape[1], embeds.device, embeds.dtype)
    positions = torch.arange(embeds.shape[1]).expand(rows, -1)
    hidden = pipe.model.body(embeds, positions, cache)
    return pipe.model.generation.head(hidden[:, prompt.length - 1 : -1])


@pytest.mark.parametrize("masked", [[0, 1, 7], [5, 6, 9, 10], [3, 15], [15], list(range(16))], ids=str)
def test_drawn_tokens_and_log_probs_equal_those_of_one_forward_pass(
    pipe: JanusPipeline, masked: list[int]
) -> None:
    source = torch.randint(128, (16,), generator=torch.Generator().manual_seed(8))
    prompt = pipe.prompts.generation(PROMPT, "", True, 16)
    options = published(TokenSampling(guidance_scale=3.0, temperature=0.0, lookahead=3))
    drawn, log_prob = inpaint_tokens(pipe.model, prompt, options, [0], MaskedImages(source[None], masked))
    tokens = drawn.tokens
    kept = [place for place in range(16) if place not in masked]
    assert tokens[0, kept].tolist() == source[kept].tolist()
    logits = whole_logits(pipe, prompt, tokens[0])
    assert tokens[0, masked].tolist() == guide(logits, 3.0)[0].argmax(dim=-1)[masked].tolist()
    behind = [place for place in kept if place > masked[0]]
    chances = logits[0].log_softmax(dim=-1)
    expected = sum(chances[place, tokens[0, place]] for place in behind) / max(len(behind), 1)
    assert float(log_prob) == pytest.approx(float(expected), abs=1e-4)


def test_the_candidate_that_makes_the_kept_tokens_most_likely_wins(pipe: JanusPipeline) -> None:
    image, mask, options = noise(64, 64), rectangle(64, 64), VARIED
    chosen = pipe.edit(image, PROMPT, options, mask=mask).tokens[0]
    plan = planned(pipe, image, options, mask)
    (run,) = plan.runs(8)
    prompt = pipe.prompts.generation(PROMPT, "", True, 16)
    source = MaskedImages(pipe.encode_tokens(image[None]), run.masked)
    streams = [plan.streams[row] for row in run.rows]
    drawn = inpaint_tokens(pipe.model, prompt, options, streams, source)[0].tokens
    assert len(drawn.unique(dim=0)) > 1
    behind = [place for place in range(run.masked[0], 16) if place not in run.masked]
    scores = []
    for candidate in drawn:
        chances = whole_logits(pipe, prompt, candidate)[0].log_softmax(dim=-1)
        scores.append(float(sum(chances[place, candidate[place]] for place in behind)))
    best = max(range(6), key=scores.__getitem__)
    assert best > 0  # else this could not tell
    assert chosen.tolist() == drawn[best].tolist()


@pytest.mark.parametrize(
    ("rows_at_once", "strength"), slow_except(product((1, 2, 3), (1.0, 0.6)), (1, 1.0), (2, 0.6))
)
def test_inpainting_does_not_depend_on_the_split(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, rows_at_once: int, strength: float
) -> None:
    image, mask = noise(64, 64), rectangle(64, 64)
    options = replace(VARIED, seed=4, candidates=3, strength=strength)
    alone = [pipe.edit(image, PROMPT, replace(options, seed=4 + index), mask=mask) for index in range(2)]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    together = pipe.edit(image, PROMPT, replace(options, batch_size=2), mask=mask)
    assert torch.equal(together.tokens, torch.cat([edited.tokens for edited in alone]))
    assert torch.equal(together.changed, torch.cat([edited.changed for edited in alone]))


def test_strength_keeps_a_random_share_of_the_masked_tokens(pipe: JanusPipeline) -> None:
    image, mask = noise(64, 64), torch.ones(64, 64)
    mask[:16] = 0
    source = pipe.encode_tokens(image[None])[0]
    options = EditSampling(strength=0.5, candidates=1)
    plan = planned(pipe, image, replace(options, batch_size=3), mask)
    assert [len(masked) for masked in plan.masked] == [6, 6, 6]
    assert all(masked[0] >= 4 and masked == tuple(sorted(set(masked))) for masked in plan.masked)
    assert plan.masked[0] != plan.masked[1] != plan.masked[2]
    again = planned(pipe, image, replace(options, seed=1), mask)
    assert again.masked[0] == plan.masked[1]
    edited = pipe.edit(image, PROMPT, options, mask=mask)
    kept = [place for place in range(16) if place not in plan.masked[0]]
    assert edited.tokens[0, kept].tolist() == source[kept].tolist()
    # Pixels of tokens that stay are the source's as well.
    cells = torch.ones(16)
    cells[list(plan.masked[0])] = 0
    pixels = cells.view(4, 4).repeat_interleave(16, dim=0).repeat_interleave(16, dim=1).bool()
    assert torch.equal(edited.images[0, pixels], image[pixels])
    assert torch.equal(edited.changed[0], (~pixels).float())


def test_a_soft_mask_is_a_soft_change(pipe: JanusPipeline) -> None:
    image, mask = noise(64, 64), rectangle(64, 64)
    options = EditSampling(seed=2)
    hard = pipe.edit(image, PROMPT, options, mask=mask)
    soft = pipe.edit(image, PROMPT, options, mask=mask / 4)
    assert torch.equal(soft.tokens, hard.tokens)
    torch.testing.assert_close(soft.images - image, (hard.images - image) / 4, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def varied(pipe: JanusPipeline) -> Tensor:
    """What `VARIED` draws."""
    return pipe.edit(noise(64, 64), PROMPT, VARIED, mask=rectangle(64, 64)).tokens


def test_the_same_options_draw_the_same_tokens(pipe: JanusPipeline, varied: Tensor) -> None:
    again = pipe.edit(noise(64, 64), PROMPT, VARIED, mask=rectangle(64, 64))
    assert torch.equal(again.tokens, varied)


@pytest.mark.parametrize(
    "change",
    [{"guidance_scale": 1.0}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.01}, {"seed": 9},
     {"candidates": 1}, {"strength": 0.3}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_option_has_an_effect(pipe: JanusPipeline, varied: Tensor, change: dict[str, Any]) -> None:
    changed = pipe.edit(noise(64, 64), PROMPT, replace(VARIED, **change), mask=rectangle(64, 64))
    assert not torch.equal(changed.tokens, varied)


def test_steps_grow_to_the_whole_and_may_cancel(pipe: JanusPipeline) -> None:
    image, mask = noise(64, 64), rectangle(64, 64)
    seen: list[tuple[int, int, int]] = []
    done: list[tuple[int, int]] = []
    pipe.edit(
        image,
        PROMPT,
        EditSampling(batch_size=2, candidates=6),
        mask=mask,
        on_step=lambda step, total, tokens: seen.append((step, total, tokens.shape[1])),
        on_image=lambda index, total: done.append((index, total)),
    )
    assert [step for step, _, _ in seen] == sorted({step for step, _, _ in seen})
    assert seen[-1] == (32, 32, 16)
    assert done == [(1, 2), (2, 2)]

    def cancel(step: int, total: int, tokens: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe.edit(image, PROMPT, mask=mask, on_step=cancel)


def test_the_smallest_strength_draws_a_token_and_greedy_candidates_are_one(pipe: JanusPipeline) -> None:
    image, mask = noise(64, 64), rectangle(64, 64)
    least = planned(pipe, image, replace(VARIED, strength=0.01), mask)
    assert [len(masked) for masked in least.masked] == [1] and least.candidates == VARIED.candidates
    for alike in ({"temperature": 0.0}, {"top_k": 1}):
        assert planned(pipe, image, replace(VARIED, **alike), mask).candidates == 1
