"""Conversations as values."""

from __future__ import annotations

from pathlib import Path

import torch
from janus_nodes.janus_core import Conversation, Turn

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
