"""Conversations as values, and what rows have in common."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import Conversation, Turn
from janus_nodes.janus_core.pipeline.prefix import (
    SavedPrefix,
    common_length,
    image_embeds_between,
    with_unique_image_ids,
)

TURNS = (Turn("What?", 1, "A cat."), Turn("Why?", 0, "So."), Turn("And these?", 2, "Dogs."))


def test_turns_are_taken_back_and_their_images_wait_for_the_next_question() -> None:
    conversation = Conversation(Path("model"), "", TURNS, torch.zeros(3, 4, 8))
    assert (conversation.num_images, conversation.num_waiting, conversation.answer) == (3, 0, "Dogs.")
    last = conversation.before(-1)
    assert (last.turns, last.num_waiting) == (TURNS[:2], 2)
    afresh = conversation.before(0)
    assert (afresh.turns, afresh.num_waiting, afresh.answer) == ((), 3, "")
    assert conversation.turns == TURNS
    assert conversation.answered("Cats.").turns == (*TURNS[:2], Turn("And these?", 2, "Cats."))


def test_a_conversation_without_images_has_none_waiting() -> None:
    assert Conversation(Path("model")).num_images == Conversation(Path("model")).num_waiting == 0


def test_showing_a_conversation_shows_no_tensors() -> None:
    assert "tensor" not in repr(Conversation(Path("model"), "", TURNS, torch.zeros(3, 4, 8)))


@pytest.mark.parametrize("length", range(8))
def test_remembered_parts_are_cut_where_asked(length: int) -> None:
    whole = torch.arange(7.0).view(1, 1, 7, 1)
    parts = tuple((part, -part) for part in whole.split([3, 1, 3], dim=2))
    module = torch.nn.Linear(1, 1)
    remembered = SavedPrefix(weakref.ref(module), torch.device("cpu"), [], None, parts)  # type: ignore[arg-type]
    assert remembered.num_bytes == 2 * whole.nbytes
    kept = remembered.truncated(length)
    assert sum(keys.shape[2] for keys, _ in kept) == length
    if length:
        assert torch.equal(torch.cat([keys for keys, _ in kept], dim=2), whole[:, :, :length])
        assert torch.equal(torch.cat([values for _, values in kept], dim=2), -whole[:, :, :length])


def test_rows_have_in_common_what_all_of_them_begin_with() -> None:
    assert common_length([[1, 2, 3]]) == 3
    assert common_length([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert common_length([[1, 2, 3], [2, 2, 3], [1, 2, 3]]) == 0
    assert common_length([[1, -1, -1, 5], [1, -1, -2, 5]]) == 2


def test_images_that_rows_do_not_share_are_told_apart() -> None:
    rows = [[7, -1, -1, 8, -2, -3], [7, -1, -1, 8, -2, -3], [7, -1, 8]]
    assert with_unique_image_ids(rows, 3) == rows
    apart = with_unique_image_ids(rows, 1)
    assert common_length(apart[:2]) == 4
    own = [{value for value in row if value < -1} for row in apart]
    assert own[0].isdisjoint(own[1])
    assert apart[2] == rows[2]
    assert common_length(with_unique_image_ids(rows, 0)) == 1


def test_images_between_positions_are_those_that_stand_there() -> None:
    embeds = torch.arange(4.0).view(1, 2, 2, 1)
    content = [5, -1, -1, 6, -2, -2, 7]
    assert image_embeds_between(embeds, content, 0).flatten().tolist() == [0, 1, 2, 3]
    assert image_embeds_between(embeds, content, 2).flatten().tolist() == [1, 2, 3]
    assert image_embeds_between(embeds, content, 2, 5).flatten().tolist() == [1, 2]
    assert image_embeds_between(embeds, content, 6) is None
    assert image_embeds_between(None, content, 0) is None
