"""An edit that changes nothing says so: empty masks, tiny images, and drawings that equal the source."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline
from janus_nodes.janus_core.pipeline.edit_notes import notes_on_results
from janus_nodes.janus_core.pipeline.edit_request import IGNORED_MASK, EditRequest
from support.drawing import traced
from support.parametrize import slow_except
from torch import Tensor

IMAGES = torch.rand(3, 40, 70, 3, generator=torch.Generator().manual_seed(3))
# What Load Image gives with a picture without transparency, and others that select nothing.
EMPTY = {
    "of Load Image": torch.zeros(1, 64, 64),
    "of the image's size": torch.zeros(40, 70),
    "below half a step of 8 bits": torch.full((1, 40, 70), 0.001),
    "negative": torch.full((1, 40, 70), -1.0),
    "bool": torch.zeros(40, 70, dtype=torch.bool),
    "of an animation": torch.zeros(3, 64, 64),
}


@pytest.mark.parametrize(
    ("name", "form"),
    slow_except(
        product(EMPTY, ("auto", "janus-4o", "janus-pro-r1")),
        *product(("of Load Image", "of an animation"), ("auto",)),
        ("bool", "janus-4o"),
        ("negative", "janus-pro-r1"),
        ("below half a step of 8 bits", "auto"),
    ),
)
def test_an_empty_mask_counts_as_none_where_the_checkpoint_edits_by_instruction(
    pipe: JanusPipeline, caplog: pytest.LogCaptureFixture, name: str, form: str
) -> None:
    able, mask = replace(pipe, edit_form="janus-4o"), EMPTY[name]
    images = IMAGES[: len(mask) if mask.ndim == 3 else 1]
    expected = able.edit(images, "Make it night.", form=form)
    assert expected.notes == ()
    with caplog.at_level(logging.INFO):
        edited = able.edit(images, "Make it night.", form=form, mask=mask)
    assert torch.equal(edited.tokens, expected.tokens)
    assert torch.equal(edited.changed, expected.changed)
    assert edited.images.shape[1:] == (64, 64, 3)  # by instruction, not under a mask
    assert edited.notes == (IGNORED_MASK,)
    assert caplog.messages.count(IGNORED_MASK) == 1


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize(("form", "trained"), [("auto", None), ("mask", None), ("mask", "janus-4o")])
def test_an_empty_mask_is_refused_where_a_mask_is_needed(
    pipe: JanusPipeline, name: str, form: str, trained: str | None
) -> None:
    mask = EMPTY[name]
    images = IMAGES[: len(mask) if mask.ndim == 3 else 1]
    expected = (
        r"^mask must select what to redraw, got an empty one \(\d+ x \d+ pixels, none above 0(\.001)?\); "
        r"paint .* white \(Load Image gives an empty mask for an image without transparency\), or .*-4o-7B"
    )
    with traced(pipe.model) as trace, pytest.raises(ValueError, match=expected):
        replace(pipe, edit_form=trained).edit(images, "Night.", form=form, mask=mask)
    assert trace.rows == []


def test_images_with_an_empty_mask_among_others_stay_and_are_named(
    pipe: JanusPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    masks = torch.zeros(3, 40, 70)
    masks[1, 10:30, 20:50] = 1
    masks[2] = 0.001
    options = EditSampling(temperature=3.0, batch_size=2, candidates=1)
    for able in (pipe, replace(pipe, edit_form="janus-4o")):
        caplog.clear()
        edited = able.edit(IMAGES, "A red ball.", options, mask=masks)
        assert torch.equal(edited.images[:2], IMAGES[:1].expand(2, -1, -1, -1))
        assert torch.equal(edited.images[4:], IMAGES[2:].expand(2, -1, -1, -1))
        alone = able.edit(IMAGES[1], "A red ball.", replace(options, seed=2), mask=masks[1])
        assert torch.equal(edited.tokens[2:4], alone.tokens)
        note = "Not changed: image 1, 2, 5, 6 of 6: the mask selects nothing."
        assert edited.notes == (note,)
        assert note in caplog.messages


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "beside an empty mask"])
def test_one_pixel_of_a_large_mask_is_not_called_empty(pipe: JanusPipeline, others: int) -> None:
    masks = torch.zeros(1 + others, 1500, 2000)
    masks[0, 700, 900] = 1
    images = torch.rand(1 + others, 48, 64, 3, generator=torch.Generator().manual_seed(4))
    edited = pipe.edit(images, "A red ball.", EditSampling(temperature=3.0), mask=masks)
    assert edited.changed[0].nonzero().tolist() == [[22, 28]]
    assert (edited.images[0] - images[0]).abs().max() > 0.02  # more than a trace
    notes = ("Not changed: image 2 of 2: the mask selects nothing.",) if others else ()
    assert edited.notes == notes


def test_a_mask_and_strength_without_a_whole_redrawn_pixel_say_so(pipe: JanusPipeline) -> None:
    image = torch.full((2, 2, 3), 0.5)  # each pixel lies in four tokens
    edited = pipe.edit(image, "A red ball.", EditSampling(strength=0.1), mask=torch.ones(2, 2))
    assert torch.equal(edited.images[0], image)
    (note,) = edited.notes
    assert note.startswith("Nothing has changed: no masked pixel lies in redrawn tokens only; set strength")
    assert pipe.edit(image, "A red ball.", mask=torch.ones(2, 2)).notes == ()


@pytest.mark.parametrize("masks", [None, torch.ones(1, 2, 2)], ids=["instruction", "mask"])
def test_a_drawing_that_equals_the_source_says_so(masks: Tensor | None) -> None:
    request = EditRequest(IMAGES[:1], "Night.", EditSampling(batch_size=2), "janus-4o", masks)
    source, changed = torch.tensor([[1, 2], [1, 2]]), torch.ones(2, 2, 2)
    (note,) = notes_on_results(request, torch.tensor([[1, 3], [1, 2]]), source, changed)
    assert note.startswith("Not changed: image 2 of 2: what was drawn equals the source; try another seed")
    (note,) = notes_on_results(request, source, source, changed)
    assert note.startswith("Nothing has changed: what was drawn equals the source; ")
    assert notes_on_results(request, source + 1, source, changed) == ()


def test_an_edit_that_draws_its_source_again_says_so(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = partial(pipe.edit, IMAGES[0], "Night.", mask=torch.ones(40, 70))
    drawn = edit(EditSampling(seed=5))
    assert drawn.notes == ()
    monkeypatch.setattr(type(pipe.model.generation), "encode", lambda *_: drawn.tokens)
    (note,) = edit(EditSampling(seed=5)).notes
    assert note.startswith("Nothing has changed: what was drawn equals the source")


def test_notes_of_a_whole_batch_are_one_sentence(pipe: JanusPipeline) -> None:
    edited = pipe.edit(IMAGES, "Night.", EditSampling(strength=0.0), mask=torch.ones(1, 40, 70))
    assert edited.notes == ("Nothing has changed: strength is 0.",)
    assert torch.equal(edited.images, IMAGES)
