"""Editing as Janus-Pro-R1 does: its crop, its two rows, logits, ids and pixels as recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline
from janus_nodes.janus_core.sampling.guidance import guide_edit
from support.drawing import traced
from support.editing import TOLERANCE, close, plan
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

Picture = Callable[[str], Tensor]
GREEDY = EditSampling(temperature=0.0)


def test_smallest_margins_are_wider_than_rounding(recorded: Any) -> None:
    assert recorded.value("r1_edit/min_margin") > 10 * TOLERANCE
    assert recorded.value("r1_edit/vq_min_cosine_margin") > 1e-4


def test_rows_of_janus_pro_r1_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    image, instruction = picture(recorded.value("r1_edit/image")), recorded.value("r1_edit/instruction")
    pixels = pipe.image_processor.cropped_pixels(image)[0]
    assert torch.equal(pixels, recorded.tensor("r1_edit/pixel_values"))
    made = plan(pipe, image, instruction, GREEDY, "janus-pro-r1")
    assert torch.equal(made.prompt.input_ids, recorded.tensor("r1_edit/input_ids"))
    assert torch.equal(made.prompt.attention_mask, recorded.tensor("r1_edit/attention_mask").bool())
    assert torch.equal(made.tokens[0], recorded.tensor("r1_edit/vq_indices"))
    close(made.inputs_embeds, recorded.tensor("r1_edit/inputs_embeds"))
    tokenizer = pipe.prompts.tokenizer
    assert recorded.value("r1_edit/joint_tokenisation_equal")
    assert made.prompt.input_ids[0].tolist() == tokenizer.encode(recorded.value("r1_edit/prompt"))
    first, *others = recorded.value("r1_edit/parts")
    pieces = tokenizer.encode(first) + [token for part in others for token in tokenizer.encode(part)[1:]]
    assert made.prompt.input_ids[0].tolist() == pieces


def test_logits_ids_and_pixels_of_janus_pro_r1_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    assert recorded.value("r1_edit/row_order") == ["cond", "uncond"]
    scale = recorded.value("r1_edit/cfg_weight")
    options = EditSampling(guidance_scale=scale, temperature=0.0)
    image, instruction = picture(recorded.value("r1_edit/image")), recorded.value("r1_edit/instruction")
    with traced(pipe.model) as trace:
        edited = pipe.edit(image, instruction, options, form="janus-pro-r1")
    for step in (0, 1, 2, 15):
        close(trace.logits[step], recorded.tensor(f"r1_edit/step{step}.rows"))
        combined = guide_edit(trace.logits[step], scale, 0.0)
        close(combined, recorded.tensor(f"r1_edit/step{step}.combined"))
    assert edited.tokens.tolist() == recorded.tensor("r1_edit/tokens").tolist()
    assert edited.tokens.tolist() == [recorded.value("r1_edit/tokens")]
    found = (edited.images[0] * 255).to(torch.uint8).int()
    assert int((found - recorded.tensor("r1_edit/uint8").int()).abs().max()) <= 1


def test_a_batch_of_janus_pro_r1_equals_single_edits(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    batch = recorded.value("r1_edit/batch")
    assert batch["tokens"] == batch["tokens_alone"]
    assert batch["min_margin"] > 10 * TOLERANCE
    options = GREEDY
    for index, (name, instruction) in enumerate(batch["items"]):
        image = picture(name)[..., :3]  # the reference ignores alpha
        made = plan(pipe, image, instruction, options, "janus-pro-r1")
        assert [made.prompt.length] * 2 == batch["lens"][2 * index : 2 * index + 2]
        edited = pipe.edit(image, instruction, options, form="janus-pro-r1")
        assert edited.tokens[0].tolist() == batch["tokens"][index]


def test_instructions_of_janus_pro_r1_keep_their_spaces(pipe: JanusPipeline) -> None:
    image, instruction = torch.zeros(8, 8, 3), "  Make it red.  "
    made = plan(pipe, image, instruction, GREEDY, "janus-pro-r1")
    words = pipe.prompts.tokenizer.encode(instruction)[1:]
    cond, uncond = made.prompt.input_ids.tolist()
    blank = [index for index, (left, right) in enumerate(zip(cond, uncond, strict=True)) if left != right]
    assert [cond[index] for index in blank] == words
    assert {uncond[index] for index in blank} == {pipe.prompts.tokenizer.pad_id}
