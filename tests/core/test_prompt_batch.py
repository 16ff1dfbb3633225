"""Prompt batches: left padding, and positions that count visible tokens."""

from __future__ import annotations

import torch
from janus_nodes.janus_core.prompt_batch import PromptBatch


def test_sequences_are_padded_on_the_left_and_positions_start_at_their_first_token() -> None:
    batch = PromptBatch.from_rows([[5, 6, 7], [8]], pad_id=0, image_id=6)
    assert batch.input_ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch.attention_mask.tolist() == [[True] * 3, [False, False, True]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch.image_mask.tolist() == [[False, True, False], [False] * 3]
    assert (batch.padded, batch.length) == (True, 3)


def test_padding_is_no_image_even_with_the_same_id() -> None:
    batch = PromptBatch.from_rows([[6, 6], [6]], pad_id=6, image_id=6)
    assert batch.image_mask.tolist() == [[True, True], [False, True]]


def test_rows_of_one_length_need_no_padding() -> None:
    batch = PromptBatch.from_rows([[1, 2], [3, 4]], pad_id=1, image_id=9)
    assert not batch.padded
    assert bool(batch.attention_mask.all())
    assert torch.equal(batch.position_ids, torch.arange(2).repeat(2, 1))


def test_a_part_of_a_padded_batch_is_the_rest_of_each_sequence() -> None:
    whole = PromptBatch.from_rows([[1, 9, 9, 5, 6], [1, 9, 9, 7]], pad_id=0, image_id=9)
    part = whole.part(2)
    assert part.input_ids[part.attention_mask].tolist() == [9, 5, 6, 9, 7]
    assert part.position_ids[part.attention_mask].tolist() == [2, 3, 4, 2, 3]
    assert part.attention_mask.tolist() == [[True] * 3, [False, True, True]]
    assert part.image_mask.tolist() == [[True, False, False], [False, True, False]]
    assert part.padded
    assert whole.part(0).attention_mask.tolist() == whole.attention_mask.tolist()


def test_a_part_from_the_middle_keeps_its_positions() -> None:
    part = PromptBatch.from_rows([[1, 2, 9, 9, 5]], pad_id=0, image_id=9, start_embedding=True).part(1, 3)
    assert part.input_ids.tolist() == [[2, 9]]
    assert part.position_ids.tolist() == [[1, 2]]
    assert part.image_mask.tolist() == [[True, True]]
    assert (part.padded, part.length) == (False, 2)


def test_positions_go_on_after_what_was_read_of_each_sequence() -> None:
    batch = PromptBatch.from_rows([[5, 6], [7]], pad_id=0, image_id=9, min_length=3).after([4, 10])
    assert batch.input_ids.tolist() == [[0, 5, 6], [0, 0, 7]]
    assert batch.attention_mask.tolist() == [[False, True, True], [False, False, True]]
    assert batch.position_ids[batch.attention_mask].tolist() == [4, 5, 10]
    assert batch.padded


def test_the_first_of_several_prompts_is_one_sequence_of_each_condition() -> None:
    both = PromptBatch.from_rows([[5, 6], [7], [1, 2], [3]], pad_id=0, image_id=9).first_of(2)
    assert both.input_ids.tolist() == [[5, 6], [1, 2]]
    assert (len(both.attention_mask), len(both.position_ids), len(both.image_mask)) == (2, 2, 2)
