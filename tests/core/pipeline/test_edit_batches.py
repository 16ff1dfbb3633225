"""Editing a batch of images: the same results as one by one, in both forms; images with transparency."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline
from support.drawing import traced
from support.parametrize import slow_except

PROMPT = "A small harbour beside a lighthouse."
# A tiny model of random weights is nearly sure of its tokens; these let it vary.
VARIED = EditSampling(guidance_scale=1.5, temperature=3.0, seed=11, candidates=2)
MASKS = torch.zeros(3, 40, 70)
MASKS[0, 10:30, 20:50] = 1
MASKS[1, :, 40:] = 0.7
MASKS[2] = 1


@pytest.mark.parametrize("form", ["janus-4o", "janus-pro-r1"])
@pytest.mark.parametrize(
    ("rows_at_once", "per_image"), slow_except([(1, 1), (2, 3), (3, 1), (8, 2)], (2, 3), (3, 1))
)
def test_edits_of_a_batch_equal_those_of_single_images(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, form: str, rows_at_once: int, per_image: int
) -> None:
    images = torch.rand(3, 40, 70, 3, generator=torch.Generator().manual_seed(1))
    edit = partial(pipe.edit, instruction="Make it night.", form=form)
    alone = [
        edit(images[result // per_image], options=EditSampling(temperature=3.0, seed=4 + result))
        for result in range(3 * per_image)
    ]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    with traced(pipe.model) as trace:
        together = edit(images, options=EditSampling(temperature=3.0, seed=4, batch_size=per_image))
    assert torch.equal(together.tokens, torch.cat([edited.tokens for edited in alone]))
    assert torch.equal(together.changed, torch.cat([edited.changed for edited in alone]))
    torch.testing.assert_close(together.images, torch.cat([edited.images for edited in alone]))
    conditions = 3 if form == "janus-4o" else 2
    assert max(trace.rows) <= conditions * rows_at_once
    # Images are read and drawn together where that fits.
    assert len(trace.rows) == 16 * len(split_sizes(3, per_image, rows_at_once))


def split_sizes(num_images: int, per_image: int, at_once: int) -> list[int]:
    """The number of results in each run, of results that are not joined across images only in part."""
    if per_image >= at_once:
        return [1] * num_images * -(-per_image // at_once)
    return [1] * -(-num_images // (at_once // per_image))


@pytest.mark.parametrize(
    ("masks", "rows_at_once", "strength"),
    slow_except(
        product(("one", "each"), (1, 4, 24), (1.0, 0.6)), ("one", 4, 0.6), ("each", 24, 1.0), ("one", 24, 1.0)
    ),
)
def test_a_batch_of_images_equals_single_images(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, masks: str, rows_at_once: int, strength: float
) -> None:
    images = torch.rand(3, 40, 70, 3, generator=torch.Generator().manual_seed(5))
    mask = MASKS[0] if masks == "one" else MASKS
    options = replace(VARIED, strength=strength)
    alone = [
        pipe.edit(
            images[result // 2],
            PROMPT,
            replace(options, seed=VARIED.seed + result),
            mask=mask if masks == "one" else mask[result // 2],
        )
        for result in range(6)
    ]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    with traced(pipe.model) as trace:
        together = pipe.edit(images, PROMPT, replace(options, batch_size=2), mask=mask)
    assert torch.equal(together.tokens, torch.cat([edited.tokens for edited in alone]))
    assert torch.equal(together.changed, torch.cat([edited.changed for edited in alone]))
    torch.testing.assert_close(together.images, torch.cat([edited.images for edited in alone]))
    assert max(trace.rows) <= 2 * rows_at_once
    if (masks, rows_at_once, strength) == ("one", 24, 1.0):  # all are drawn together
        assert set(trace.rows) == {2 * 3, 2 * 12}


def test_steps_and_images_of_a_batch_are_counted_together(pipe: JanusPipeline) -> None:
    steps: list[tuple[int, int]] = []
    done: list[tuple[int, int]] = []
    pipe.edit(
        torch.rand(3, 40, 70, 3),
        PROMPT,
        EditSampling(candidates=1),
        mask=MASKS,
        on_step=lambda step, total, tokens: steps.append((step, total)),
        on_image=lambda index, total: done.append((index, total)),
    )
    assert steps == sorted(set(steps)) and steps[-1] == (48, 48)
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_transparency_is_kept_outside_of_the_mask(pipe: JanusPipeline) -> None:
    image, mask = torch.rand(40, 70, 4, generator=torch.Generator().manual_seed(5)), torch.zeros(40, 70)
    mask[13:26, 17:46] = 1
    image[:, :35, 3] = 0.0
    edited = pipe.edit(image, PROMPT, EditSampling(seed=3, candidates=1), mask=mask).images[0]
    assert torch.equal(edited[mask == 0], image[mask == 0])
    middle = edited[18:22, 30:38]
    assert torch.equal(middle[..., 3], torch.ones(4, 8))
    # Drawn pixels are those of the same picture on the model's grey.
    grey = torch.lerp(torch.full((40, 70, 3), 127 / 255), image[..., :3], image[..., 3:])
    opaque = pipe.edit(grey, PROMPT, EditSampling(seed=3, candidates=1), mask=mask).images[0]
    torch.testing.assert_close(middle[..., :3], opaque[18:22, 30:38])
