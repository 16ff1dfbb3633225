"""Editing as Janus-4o does: the recorded rows, logits, ids and pixels; recorded mistakes are told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, load_pipeline
from janus_nodes.janus_core.sampling import tokens as tokens_module
from janus_nodes.janus_core.sampling.guidance import guide_edit
from support.checkpoints import small_config, write_checkpoint
from support.drawing import Forced, traced
from support.editing import TOLERANCE, close, plan
from support.parametrize import slow_except
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

Picture = Callable[[str], Tensor]
CASES = ("i0p0", "i0p1", "i1p0", "i1p1")
SCALES = {"w5_5": (5.0, 5.0), "w5_0": (5.0, 0.0), "w1_0": (1.0, 0.0)}
VISION, PAD = slice(5, 21), slice(23, 39)  # where the two places of the picture lie in Janus-4o's prompt


def greedy(scales: str) -> EditSampling:
    guidance, source = SCALES[scales]
    return EditSampling(guidance_scale=guidance, source_scale=source, temperature=0.0)


@pytest.mark.parametrize("name", CASES)
def test_prompts_and_embeddings_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture, name: str
) -> None:
    case = recorded.value("edit/cases")[name]
    assert case["image"] == recorded.value("edit/image_names")[int(name[1])]
    assert case["instruction"] == recorded.value("edit/instructions")[int(name[3])]
    image = picture(case["image"])[..., :3]  # the reference ignores alpha
    made = plan(pipe, image, case["instruction"], greedy("w5_5"))
    tokenizer = pipe.prompts.tokenizer
    assert made.prompt.length == case["len"]
    assert made.prompt.input_ids[0].tolist() == tokenizer.encode(case["prompt"])
    assert not made.prompt.padded
    places = [row.nonzero().flatten().tolist() for row in made.prompt.image_mask]
    seen = list(range(*case["siglip_from_to"]))
    ((row, *drawn),) = case["vq_filled_rows_from_to"]
    assert row == 0
    assert places == [seen + list(range(*drawn)), seen, []]
    for found, expected in zip(made.inputs_embeds, case["inputs_embeds_sum_abs_f64"], strict=True):
        assert float(found.double().abs().sum()) == pytest.approx(expected, abs=0.01)
    pixels = pipe.image_processor.pixels([image])
    assert float(pixels.double().sum()) == pytest.approx(case["pixel_values_sum_f64"], abs=1e-3)
    for key, tensor in {
        "input_ids": made.prompt.input_ids[0],
        "vq_indices": made.tokens,
        "tokens": made.prompt.input_ids,
        # The other place of the picture holds padding in the reference's ids, and is filled afterwards.
        "images_seq_mask": made.prompt.image_mask & (made.prompt.input_ids == tokenizer.image_id),
    }.items():
        if recorded.has(f"edit/{name}.{key}"):
            assert torch.equal(tensor, recorded.tensor(f"edit/{name}.{key}")), key
    if recorded.has(f"edit/{name}.inputs_embeds"):
        close(made.inputs_embeds, recorded.tensor(f"edit/{name}.inputs_embeds"))


def test_special_tokens_are_those_of_the_reference(recorded: Any, pipe: JanusPipeline) -> None:
    tokenizer = pipe.prompts.tokenizer
    for name in ("pad_id", "image_id", "image_start_id", "image_end_id", "bos_id"):
        assert getattr(tokenizer, name) == recorded.value(f"edit/{name}")


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("name", CASES)
def test_logits_ids_and_pixels_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture, name: str, scales: str
) -> None:
    case = recorded.value("edit/cases")[name]
    options = greedy(scales)
    with traced(pipe.model) as trace:
        edited = pipe.edit(picture(case["image"])[..., :3], case["instruction"], options, form="janus-4o")
    expected = case["greedy"][scales]
    assert (expected["w1"], expected["w2"]) == SCALES[scales]
    assert edited.tokens.tolist() == recorded.tensor(f"edit/{name}.{scales}.tokens").tolist()
    assert edited.tokens.tolist() == [expected["tokens"]]
    compared = 0
    for step, rows in enumerate(trace.logits):
        combined = guide_edit(rows, options.guidance_scale, options.source_scale)
        for key, tensor in (("rows", rows), ("combined", combined)):
            if recorded.has(f"edit/{name}.{scales}.step{step}.{key}"):
                close(tensor, recorded.tensor(f"edit/{name}.{scales}.step{step}.{key}"))
                compared += 1
    assert compared == (8 if scales == "w5_5" else 1)
    if scales == "w5_5":
        # The reference truncates.
        found = (edited.images[0] * 255).to(torch.uint8).int()
        pixels = recorded.tensor(f"edit/{name}.{scales}.uint8").int()
        assert int((found - pixels).abs().max()) <= 1
        assert float((found != pixels).float().mean()) < 0.01


def test_rows_without_effect_are_left_out(recorded: Any, pipe: JanusPipeline, picture: Picture) -> None:
    assert recorded.value("edit/row_order") == ["full", "part", "uncond"]
    image = picture("landscape_rgb")
    for scales, rows in {(5.0, 5.0): 3, (5.0, 0.0): 2, (1.0, 5.0): 2, (1.0, 0.0): 1}.items():
        options = EditSampling(guidance_scale=scales[0], source_scale=scales[1], temperature=0.0)
        with traced(pipe.model) as trace:
            pipe.edit(image, "Make it night.", options, form="janus-4o")
        assert set(trace.rows) == {rows}


def test_sampled_ids_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reference draws both images from one stream.
    expected = recorded.tensor("edit/i0p0.sample.tokens").long()
    case = recorded.value("edit/cases")["i0p0"]
    monkeypatch.setattr(tokens_module, "TokenSampler", Forced(expected))
    image, options = picture(case["image"]), EditSampling(batch_size=2)
    with traced(pipe.model) as trace:
        edited = pipe.edit(image, case["instruction"], options, form="janus-4o")
    assert torch.equal(edited.tokens, expected)
    generator = torch.Generator().manual_seed(1234)
    drawn = [
        torch.multinomial(guide_edit(rows, 5.0, 5.0).softmax(dim=-1), 1, generator=generator)
        for rows in trace.logits
    ]
    assert torch.equal(torch.cat(drawn, dim=1), expected)


def first_logits(pipe: JanusPipeline, embeds: Tensor, visible: Tensor | None = None) -> Tensor:
    """Logits [R, V] behind a prompt's embeddings [R, T, C]."""
    cache = pipe.model.body.new_cache(*embeds.shape[:2], embeds.device)
    if visible is not None:
        cache.mark_padding(visible)
    positions = torch.arange(embeds.shape[1]).expand(len(embeds), -1)
    return pipe.model.generation.head(pipe.model.body(embeds, positions, cache)[:, -1:])[:, -1]


def wrong_logits(pipe: JanusPipeline, image: Tensor, instruction: str, way: str) -> Tensor:
    """What is drawn from at first if one thing is done in a plausible other way."""
    options = greedy("w5_5")
    made = plan(pipe, image, instruction, options)
    embeds, visible = made.inputs_embeds.clone(), None
    seen, tokens = embeds[0, VISION].clone(), embeds[0, PAD].clone()
    pad = pipe.model.body.embed_tokens(torch.tensor(pipe.prompts.tokenizer.pad_id))
    if way == "vq_in_part_row":
        embeds[1, PAD] = tokens
    elif way == "no_vq_at_all":
        embeds[0, PAD] = pad
    elif way == "vq_offset_plus_1":
        embeds[0, PAD.start] = pad
        embeds[0, PAD.start + 1 : PAD.stop + 1] = tokens
    elif way == "swap_slots":
        embeds[0, VISION], embeds[0, PAD] = tokens, seen
    elif way == "part_vq_slot_zero":
        embeds[1, PAD] = 0.0
    elif way == "uncond_keeps_images":
        words = embeds[2, PAD.stop + 1 : -1].clone()
        embeds[2] = embeds[0]
        embeds[2, PAD.stop + 1 : -1] = words
    elif way == "uncond_pads_bos_and_boi":
        embeds[2] = pad
    elif way == "mask_pads":
        visible = made.prompt.input_ids != pipe.prompts.tokenizer.pad_id
        visible[0, PAD] = True
    elif way == "newline_before_instruction":
        embeds = plan(pipe, image, "\n" + instruction, options).inputs_embeds
    elif way == "center_crop_for_vq":
        side = min(image.shape[:2])
        top, left = ((length - side) // 2 for length in image.shape[:2])
        pixels = pipe.image_processor.pixels([image[top : top + side, left : left + side]])
        embeds[0, PAD] = pipe.model.generation.embed_tokens(pipe.model.generation.encode(pixels))[0]
    rows = first_logits(pipe, embeds, visible)
    full, part, uncond = rows
    if way == "full_part_swapped":
        full, part = part, full
    if way == "instructpix2pix_style":
        return uncond + 5.0 * (part - uncond) + 5.0 * (full - part)
    return guide_edit(torch.stack((full, part, uncond)), 5.0, 5.0)[0]


@pytest.mark.parametrize("name", slow_except(CASES, "i0p1", "i1p0"))
def test_every_plausible_mistake_changes_the_logits(
    recorded: Any, pipe: JanusPipeline, picture: Picture, name: str
) -> None:
    case = recorded.value("edit/cases")[name]
    right = recorded.tensor(f"edit/{name}.w5_5.step0.combined")[0]
    image = picture(case["image"])[..., :3]  # the reference ignores alpha
    close(wrong_logits(pipe, image, case["instruction"], "none"), right)
    assert recorded.value("edit/formula").startswith(
        "cond = (full + w2*part)/(1+w2); combined = uncond + w1*"
    )
    for way, effect in case["wrong_ways"].items():
        found = float((wrong_logits(pipe, image, case["instruction"], way) - right).abs().max())
        assert found > 100 * TOLERANCE, way
        # The record does not say what its offset leaves in the places on either side.
        if way != "vq_offset_plus_1":
            assert found == pytest.approx(effect["step0_combined_max_abs_diff"], abs=3e-4), way


def test_smallest_margins_are_wider_than_rounding(recorded: Any) -> None:
    cases = recorded.value("edit/cases").values()
    margins = [run["min_margin"] for case in cases for run in case["greedy"].values()]
    assert min(margins) == recorded.value("edit/min_greedy_margin") > 10 * TOLERANCE


def test_an_edit_is_the_models_square_and_tells_which_tokens_changed(
    pipe: JanusPipeline, picture: Picture
) -> None:
    image = picture("landscape_rgb")
    edited = pipe.edit(image, "Make it night.", EditSampling(batch_size=2), form="janus-4o")
    assert edited.images.shape[:3] == edited.changed.shape == (2, 64, 64)
    other = (edited.tokens != pipe.encode_tokens(image[None])).float()
    assert torch.equal(edited.changed[:, 8::16, 8::16].flatten(1), other)
    assert torch.equal(edited.changed[:, ::16, 15::16].flatten(1), other)


def test_other_sizes_edit_as_well(tmp_path: Any, picture: Picture) -> None:
    write_checkpoint(tmp_path / "Janus-4o-7B", small_config(image_size=24, max_position_embeddings=900))
    pipe = load_pipeline(tmp_path / "Janus-4o-7B", dtype=torch.float32)
    image = picture("portrait_rgba")
    made = plan(pipe, image, "Make it night.", EditSampling())
    seen, tokens = (24 // 6) ** 2, (24 // 4) ** 2
    filled = [row.nonzero().flatten().tolist() for row in made.prompt.image_mask]
    first = list(range(filled[1][0], filled[1][0] + seen))
    second = list(range(first[-1] + 3, first[-1] + 3 + tokens))
    assert filled == [first + second, first, []]
    edited = pipe.edit(image, "Make it night.")
    assert (edited.tokens.shape, edited.images.shape) == ((1, tokens), (1, 24, 24, 3))
    other = plan(pipe, image, "Make it night.", EditSampling(), "janus-pro-r1")
    assert other.prompt.image_mask.sum(dim=1).tolist() == [tokens, tokens]
    for row in range(2):
        placed = other.inputs_embeds[row][other.prompt.image_mask[row]]
        assert torch.equal(placed, pipe.model.generation.embed_tokens(other.tokens)[0])
