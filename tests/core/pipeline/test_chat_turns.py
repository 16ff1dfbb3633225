"""`chat` and `converse` as they are called: what they take for a conversation, and what they refuse."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import (
    Conversation,
    JanusPipeline,
    TextSampling,
    Turn,
    VisionFeatures,
    load_pipeline,
)
from support.checkpoints import copy_checkpoint
from support.drawing import counted_images
from torch import Tensor

SHORT = TextSampling(max_new_tokens=6)


def test_a_conversation_may_be_written_by_hand(pipe: JanusPipeline, images: Tensor) -> None:
    embeds = pipe.encode_vision(images[:1]).image_embeds
    first = pipe.chat("What is this?", images[:1], options=SHORT, system_prompt="Be brief.")
    turn = Turn("What is this?", 1, first.answer)
    written = Conversation(pipe.folder, "Be brief.", (turn,), embeds)
    assert pipe.chat("Why?", None, written, SHORT).turns == pipe.chat("Why?", None, first, SHORT).turns


def test_a_conversation_does_not_keep_its_model(golden_root: Path) -> None:
    pipe = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)
    conversation = pipe.chat("Hello!", options=SHORT)
    assert conversation.saved_prefix.model() is pipe.model
    del pipe
    gc.collect()
    assert conversation.saved_prefix.model() is None


def test_a_placeholder_that_the_model_spelt_out_is_no_image(pipe: JanusPipeline, images: Tensor) -> None:
    first = pipe.chat("What is this?", images[:1], options=SHORT).answered("A <image_placeholder> tag")
    second = pipe.chat("Why?", None, first, SHORT)
    assert second.turns[1] == pipe.chat("Why?", None, first.answered("A  tag"), SHORT).turns[1]


def test_images_of_another_checkpoint_are_refused_and_texts_are_not(
    pipe: JanusPipeline, tmp_path: Path, images: Tensor
) -> None:
    other = load_pipeline(copy_checkpoint("janus-pro-tiny", tmp_path / "other"), dtype=torch.float32)
    seen = pipe.chat("What is this?", images[:1], options=SHORT)
    expected = "with the checkpoint that encoded its images, 'janus-pro-tiny', got 'other'; start a new"
    with pytest.raises(ValueError, match=expected):
        other.chat("Why?", None, seen, SHORT)
    said = pipe.chat("Hello!", options=SHORT)
    moved = other.chat("Why?", images[:1], said, SHORT)
    assert moved.tokens_reused == 0
    assert other.chat("So?", None, moved, SHORT).tokens_reused > 0
    with pytest.raises(ValueError, match="that encoded its images, 'other', got 'janus-pro-tiny'"):
        pipe.chat("So?", None, moved, SHORT)


def test_images_of_the_wrong_shape_are_refused(pipe: JanusPipeline) -> None:
    wrong = Conversation(pipe.folder, image_embeds=torch.zeros(1, 15, 64))
    expected = r"images of the conversation must be \[B, 16, 64\] as this model's, got shape \[1, 15, 64\]"
    with pytest.raises(ValueError, match=expected):
        pipe.chat("Why?", None, wrong)
    features = VisionFeatures(torch.zeros(1, 16, 63), torch.zeros(1, 16, 48))
    with pytest.raises(ValueError, match=r"features must be \[B, 16, 64\] as this model's"):
        pipe.chat("Why?", features)


def test_several_rows_are_no_chat(pipe: JanusPipeline, images: Tensor) -> None:
    with pytest.raises(
        ValueError, match="images and question must make one question in a chat, got 3; use conv"
    ):
        pipe.chat("Why?", images[:3])
    with pytest.raises(ValueError, match="make one question in a chat, got 2"):
        pipe.chat(["Why?", "What?"])  # type: ignore[arg-type]


def test_other_types_than_conversations_and_another_system_prompt_are_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(
        ValueError, match="conversation must be what chat or converse returned, got str; pass"
    ):
        pipe.chat("Why?", None, "Hello!")  # type: ignore[arg-type]
    first = pipe.chat("Hello!", options=SHORT, system_prompt="Be brief.")
    with pytest.raises(ValueError, match="system_prompt must be the conversation's own, got 'Be long"):
        pipe.chat("Why?", None, first, system_prompt="Be long.")
    assert pipe.chat("Why?", None, first, SHORT, system_prompt="Be brief.").system_prompt == "Be brief."


def test_conversations_longer_than_the_context_are_refused(pipe: JanusPipeline, images: Tensor) -> None:
    first = pipe.chat("Hello! " * 10, options=SHORT)
    short = replace(pipe, prompts=replace(pipe.prompts, max_length=first.tokens_read + 5))
    expected = (
        rf"conversation must leave room in the model's context of {first.tokens_read + 5} tokens, got \d+ "
        "tokens and 1 more to write; start a new one, or continue from an earlier turn"
    )
    with counted_images(pipe) as looks, pytest.raises(ValueError, match=expected):
        short.chat("Why?", images[:1], first)
    assert looks == []
