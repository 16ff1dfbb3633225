"""What cannot be edited is refused before it costs anything, by name, value and way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, TokenSampling, load_pipeline, save_checkpoint
from support.checkpoints import copy_checkpoint
from support.drawing import traced
from torch import Tensor

IMAGE, MASK = torch.full((20, 30, 3), 0.5), torch.ones(20, 30)


def refused(pipe: JanusPipeline, message: str, **inputs: Any) -> None:
    """Asserts that an edit is refused by a message, and before the model reads anything."""
    usual = {"image": IMAGE, "instruction": "Make it night."}
    with traced(pipe.model) as trace, pytest.raises(ValueError, match=message):
        pipe.edit(**usual | inputs)
    assert trace.rows == []


@pytest.mark.parametrize("instruction", ["", "  \n", None, 3])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_no_instruction_is_refused(pipe: JanusPipeline, instruction: Any, mask: Tensor | None) -> None:
    expected = rf"instruction must hold text, got {instruction!r}; say what to change, or with a mask, what"
    refused(pipe, expected.replace("\\n", "\\\\n"), instruction=instruction, mask=mask)


def test_the_error_of_a_checkpoint_that_cannot_edit_names_those_that_can(pipe: JanusPipeline) -> None:
    expected = (
        r"model must be trained to edit by instruction, got 'janus-pro-tiny', which is not known to be; load "
        r"Janus-4o-7B \(janus-4o\) or Janus-Pro-R1-7B \(janus-pro-r1\), set form .*, or pass a mask"
    )
    refused(pipe, expected)


def test_a_known_checkpoint_edits_without_a_form(tmp_path: Path) -> None:
    known = load_pipeline(copy_checkpoint("janus-pro-tiny", tmp_path / "Janus-4o-7B"), dtype=torch.float32)
    usual = known.edit(IMAGE, "Make it night.").tokens
    assert torch.equal(known.edit(IMAGE, "Make it night.", form="janus-4o").tokens, usual)
    assert not torch.equal(known.edit(IMAGE, "Make it night.", form="janus-pro-r1").tokens, usual)
    masked = known.edit(IMAGE, "Night.", mask=MASK).tokens
    assert torch.equal(known.edit(IMAGE, "Night.", mask=MASK, form="mask").tokens, masked)
    # Under another name it still is one of these.
    save_checkpoint(known, tmp_path / "mine")
    again = load_pipeline(tmp_path / "mine", dtype=torch.float32)
    assert again.edit_form == "janus-4o"
    assert torch.equal(again.edit(IMAGE, "Make it night.").tokens, usual)


def test_forms_that_do_not_go_with_the_mask_are_refused(pipe: JanusPipeline) -> None:
    refused(pipe, "form must be one of auto, janus-4o, janus-pro-r1, mask, got 'other'; choose", form="other")
    refused(pipe, "mask must be given for form 'mask', got none; pass a mask", form="mask")
    expected = "mask must be None for form 'janus-4o', which changes the whole image, got a mask; set form"
    refused(pipe, expected, form="janus-4o", mask=MASK)


@pytest.mark.parametrize("form", ["janus-4o", "janus-pro-r1", "mask"])
@pytest.mark.parametrize(
    ("image", "got"),
    [
        (torch.zeros(0, 8, 8, 3), r"got shape \[0, 8, 8, 3\]"),
        (torch.zeros(8, 8), r"got shape \[8, 8\]"),
        ([torch.zeros(8, 8, 3)], r"got \[?"),
        (None, "got None"),
    ],
    ids=["none", "flat", "list", "None"],
)
def test_anything_but_images_is_refused(pipe: JanusPipeline, form: str, image: Any, got: str) -> None:
    mask = MASK if form == "mask" else None
    refused(pipe, rf"images must be .*{got}", image=image, form=form, mask=mask)


@pytest.mark.parametrize("form", ["janus-4o", "janus-pro-r1", "mask"])
@pytest.mark.parametrize("token", ["<image_placeholder>", "<begin_of_image>", "<｜▁pad▁｜>", "<|User|>"])
def test_special_tokens_in_the_instruction_are_refused(pipe: JanusPipeline, form: str, token: str) -> None:
    expected = rf"instruction must hold no special tokens, got {token} in .*; remove them"
    instruction = f"Look: {token} there."
    mask = MASK if form == "mask" else None
    refused(pipe, expected.replace("|", r"\|"), instruction=instruction, form=form, mask=mask)


@pytest.mark.parametrize("form", ["janus-4o", "janus-pro-r1", "mask"])
def test_instructions_longer_than_the_context_are_refused(pipe: JanusPipeline, form: str) -> None:
    expected = r"^instruction must leave room .* got \d+ tokens and 16 more to write; shorten it"
    mask = MASK if form == "mask" else None
    refused(pipe, expected, instruction="Why? " * 6000, form=form, mask=mask)


def test_a_flow_checkpoint_is_refused(flow_pipe: JanusPipeline) -> None:
    expected = (
        "model must generate images with EditSampling, got 'janusflow-tiny', which generates them by flow; "
        "use FlowSampling, or load another checkpoint"
    )
    for mask in (None, MASK):
        with pytest.raises(ValueError, match=expected):
            flow_pipe.edit(IMAGE, "Make it night.", mask=mask)
    with pytest.raises(ValueError, match=expected):
        flow_pipe.edit(IMAGE, "Make it night.", EditSampling(), form="janus-4o")


def test_options_of_drawing_are_refused(pipe: JanusPipeline) -> None:
    expected = "options must be EditSampling, got TokenSampling; "
    refused(pipe, expected, options=TokenSampling(), mask=MASK)
