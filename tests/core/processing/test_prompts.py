"""Prompts equal the reference's ids and masks, and invalid ones are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEFAULT_SYSTEM_PROMPT, JanusPipeline, Turn, load_pipeline
from janus_nodes.janus_core.processing.chat import chat_format
from janus_nodes.janus_core.prompt_batch import PromptBatch

CONVERSATIONS = (
    "text_only",
    "one_image",
    "two_images",
    "multi_turn",
    "multi_turn_multi_image",
    "old_roles",
)


def rows_of(recorded: Any, pipe: JanusPipeline, *conversations: str) -> list[list[int]]:
    """Token rows of recorded conversations."""
    return [
        pipe.prompts.encode(
            pipe.prompts.chat.render(recorded.messages(name), DEFAULT_SYSTEM_PROMPT),
            len(recorded.images(name)),
        )
        for name in conversations
    ]


def assert_batch_equals(recorded: Any, batch: PromptBatch, name: str) -> None:
    """Ids and masks are the recorded ones."""
    assert torch.equal(batch.input_ids, recorded.tensor(f"tokenize/{name}.input_ids"))
    assert torch.equal(batch.attention_mask, recorded.tensor(f"tokenize/{name}.attention_mask").bool())
    assert torch.equal(batch.image_mask, recorded.tensor(f"tokenize/{name}.images_seq_mask"))
    # The reference's other mask says which of its padded images are real: as many as our rows have places.
    images = recorded.tensor(f"tokenize/{name}.images_emb_mask").flatten(1).sum(dim=1)
    assert torch.equal(batch.image_mask.sum(dim=1), images)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_have_the_recorded_ids(recorded: Any, pipe: JanusPipeline, name: str) -> None:
    tokenizer = pipe.prompts.tokenizer
    batch = PromptBatch.from_rows(rows_of(recorded, pipe, name), tokenizer.pad_id, tokenizer.image_id)
    if not recorded.images(name):
        assert not bool(batch.image_mask.any())
    assert_batch_equals(recorded, batch, name)


def test_batches_are_padded_on_the_left(recorded: Any, pipe: JanusPipeline) -> None:
    tokenizer = pipe.prompts.tokenizer
    rows = rows_of(recorded, pipe, "one_image", "text_only", "two_images")
    batch = PromptBatch.from_rows(rows, tokenizer.pad_id, tokenizer.image_id)
    assert batch.padded
    assert_batch_equals(recorded, batch, "batch")
    for row, positions, mask in zip(rows, batch.position_ids, batch.attention_mask, strict=True):
        assert positions[mask].tolist() == list(range(len(row)))


def test_raw_prompt_has_the_recorded_ids(recorded: Any, pipe: JanusPipeline) -> None:
    row = pipe.prompts.encode("<image_placeholder> raw prompt", 1)
    assert [row] == recorded.tensor("tokenize/raw_prompt.input_ids").tolist()


def test_questions_get_one_placeholder_per_image_before_them(recorded: Any, pipe: JanusPipeline) -> None:
    batch = pipe.prompts.understanding(["Describe the image in detail."], 1, DEFAULT_SYSTEM_PROMPT)
    assert_batch_equals(recorded, batch, "one_image")
    placed = recorded.messages("two_images")[0].text
    assert_batch_equals(
        recorded, pipe.prompts.understanding([placed], 2, DEFAULT_SYSTEM_PROMPT), "two_images"
    )
    text = recorded.messages("text_only")[0].text
    assert_batch_equals(recorded, pipe.prompts.understanding([text], 0, DEFAULT_SYSTEM_PROMPT), "text_only")


def test_other_role_texts_give_the_recorded_ids(recorded: Any, pipe: JanusPipeline) -> None:
    builder = replace(pipe.prompts, chat=chat_format("deepseek", ("User", "Assistant")))
    batch = builder.understanding(["Convert the formula into latex code."], 1, DEFAULT_SYSTEM_PROMPT)
    assert_batch_equals(recorded, batch, "old_roles")


def test_descriptions_have_the_recorded_ids_and_unconditional_row(recorded: Any, pipe: JanusPipeline) -> None:
    description = "A small harbour beside a lighthouse, under a blue night sky."
    rendered = pipe.prompts.chat.question(description) + pipe.prompts.tokenizer.special.image_start
    assert rendered == recorded.value("t2i.prompt")
    batch = pipe.prompts.generation(description, "", use_cfg=True, num_new=16)
    assert batch.input_ids.tolist() == recorded.tensor("imagegen/cfg_tokens").tolist()
    assert batch.input_ids[0].tolist() == recorded.tensor("imagegen/input_ids").tolist()
    # The padding of the unconditional row is visible to attention, as in the reference.
    assert not batch.padded
    assert bool(batch.attention_mask.all())


def test_without_guidance_there_is_one_row(pipe: JanusPipeline) -> None:
    assert pipe.prompts.generation("A cat", "ugly", use_cfg=False, num_new=16).input_ids.shape[0] == 1


def test_a_negative_prompt_takes_the_unconditional_row(pipe: JanusPipeline) -> None:
    batch = pipe.prompts.generation(
        "A cat", "a much longer text that is not wanted", use_cfg=True, num_new=16
    )
    alone = pipe.prompts.generation("A cat", "", use_cfg=False, num_new=16).input_ids[0]
    assert batch.padded
    assert torch.equal(batch.input_ids[0][batch.attention_mask[0]], alone)
    assert "not wanted" in pipe.prompts.tokenizer.decode(batch.input_ids[1].tolist())


def test_all_tensors_of_a_batch_move_between_devices(pipe: JanusPipeline) -> None:
    batch = pipe.prompts.generation("A cat", "dogs and more", use_cfg=True, num_new=16).to("meta")
    assert batch.padded
    for tensor in (batch.input_ids, batch.attention_mask, batch.position_ids, batch.image_mask):
        assert tensor.is_meta


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_texts_are_refused(pipe: JanusPipeline, text: str) -> None:
    with pytest.raises(ValueError, match="question must hold text, got"):
        pipe.prompts.understanding([text], 1, "")
    with pytest.raises(ValueError, match="prompt must hold text, got"):
        pipe.prompts.generation(text, "", use_cfg=True, num_new=16)


@pytest.mark.parametrize("text", [None, 5, ["ugly"]])
@pytest.mark.parametrize("guided", [True, False])
def test_a_negative_prompt_that_is_not_text_is_refused(pipe: JanusPipeline, text: Any, guided: bool) -> None:
    with pytest.raises(ValueError, match=r"negative_prompt must be text, got .*; leave it empty for none"):
        pipe.prompts.generation("A cat", text, guided, num_new=16)


@pytest.mark.parametrize(("placed", "images"), [(1, 2), (2, 1), (3, 0)])
def test_wrong_numbers_of_placeholders_are_refused(pipe: JanusPipeline, placed: int, images: int) -> None:
    question = "<image_placeholder>" * placed + " Why?"
    expected = f"must hold one <image_placeholder> per image or none at all, got {placed} for {images} images"
    with pytest.raises(ValueError, match=expected):
        pipe.prompts.understanding([question], images, "")


def test_a_placeholder_in_a_description_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match=r"prompt must hold no <image_placeholder>, got .*; remove it"):
        pipe.prompts.generation("A cat like <image_placeholder>", "", use_cfg=True, num_new=16)


def test_prompts_longer_than_the_context_are_refused(pipe: JanusPipeline) -> None:
    builder = replace(pipe.prompts, max_length=100)
    expected = (
        r"prompt must leave room in the model's context of 100 tokens, got \d+ tokens and 1 more to write"
    )
    with pytest.raises(ValueError, match=expected):
        builder.understanding(["Why? " * 40], 0, "")
    row = builder.generation("A cat", "", use_cfg=False, num_new=16).length
    builder.generation("A cat", "", use_cfg=False, num_new=100 - row)
    with pytest.raises(ValueError, match=f"got {row} tokens and {101 - row} more to write; shorten it"):
        builder.generation("A cat", "", use_cfg=False, num_new=101 - row)


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(pipe: JanusPipeline) -> None:
    top = pipe.prompts.tokenizer.max_id
    replace(pipe.prompts, vocab_size=top + 1)
    with pytest.raises(
        ValueError, match=f"vocab_size must exceed every id .*, got {top} for ids up to {top}"
    ):
        replace(pipe.prompts, vocab_size=top)


def test_a_template_that_replaces_the_question_is_refused(golden_root: Path) -> None:
    pipe = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32, template="alignment")
    for ask in (lambda: pipe.generate("a cat"), lambda: pipe.understand(None, "What?")):
        with pytest.raises(ValueError, match="chat template must include the user's text, got 'alignment'"):
            ask()


def test_a_follow_up_question_has_the_recorded_ids(recorded: Any, pipe: JanusPipeline) -> None:
    question, answer, more, _ = (message.text for message in recorded.messages("multi_turn"))
    row = pipe.prompts.question(more, 0, DEFAULT_SYSTEM_PROMPT, [Turn(question, 1, answer)])
    assert_batch_equals(recorded, pipe.prompts.batch([row]), "multi_turn")


def test_images_of_each_turn_come_before_its_question(pipe: JanusPipeline) -> None:
    tag = pipe.prompts.tokenizer.special.image
    placed = pipe.prompts.question(f"{tag}\nWhy?", 1, "", [Turn(f"{tag}\n{tag}\nWhat?", 2, "Two.")])
    assert pipe.prompts.question("Why?", 1, "", [Turn("What?", 2, "Two.")]) == placed


def test_token_keys_number_images_and_keep_other_tokens(
    pipe: JanusPipeline, flow_pipe: JanusPipeline
) -> None:
    for builder, starts in ((pipe.prompts, 0), (flow_pipe.prompts, 1)):
        row = builder.question("Compare.", 2, "")
        content = builder.token_keys(row)
        for image in (-1, -2):
            assert content.count(image) == builder.num_image_tokens + starts
        mask = builder.batch([row]).image_mask[0].tolist()
        assert [value < 0 for value in content] == mask
        assert [c for c in content if c >= 0] == [t for t, image in zip(row, mask, strict=True) if not image]
