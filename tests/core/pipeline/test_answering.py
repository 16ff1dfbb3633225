"""Answering on what was read before: the reference's numbers, what is read and what is not, and retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    Conversation,
    JanusPipeline,
    TextSampling,
    load_pipeline,
)
from janus_nodes.janus_core.pipeline import answering
from support.drawing import counted_images
from support.parametrize import slow_except
from torch import Tensor

GREEDY = TextSampling(max_new_tokens=24)
SHORT = TextSampling(max_new_tokens=6)
VARIED = TextSampling(max_new_tokens=12, temperature=1.2, seed=50)
Picture = Callable[[str], Tensor]


@contextmanager
def counted_tokens(pipe: JanusPipeline) -> Iterator[list[int]]:
    """Notes how many tokens, padding included, each pass through the body takes."""
    sizes: list[int] = []
    hook = pipe.model.body.register_forward_hook(lambda *call: sizes.append(call[1][0][..., 0].numel()))
    yield sizes
    hook.remove()


def from_scratch(pipe: JanusPipeline, conversation: Conversation, options: TextSampling) -> Conversation:
    """The last turn asked again of a conversation that remembers nothing and knows no images."""
    *earlier, last = conversation.turns
    start = Conversation(pipe.folder, conversation.system_prompt, tuple(earlier), conversation.image_embeds)
    assert start.num_waiting == last.num_images
    return pipe.chat(last.question, None, start, options)


@pytest.mark.parametrize("kind", ["janus", "flow"])
def test_a_second_turn_equals_the_reference(kind: str, request: Any, picture: Picture) -> None:
    names = ("recorded", "pipe") if kind == "janus" else ("flow_recorded", "flow_pipe")
    recorded, pipe = (request.getfixturevalue(name) for name in names)
    question, answer, more, _ = recorded.messages("multi_turn")
    first = pipe.chat(question.text, picture("landscape_rgb"), options=GREEDY).answered(answer.text)
    with counted_images(pipe) as seen:
        second = pipe.chat(more.text, conversation=first, options=GREEDY)
    assert [second.answer] == recorded.value("understand.multi_turn.greedy_text")
    assert seen == []
    assert second.tokens_reused >= first.tokens_read
    assert second.tokens_read + second.tokens_reused == len(pipe.prompts.tokenizer.encode(
        recorded.value("sft_format.multi_turn")
    )) + pipe.prompts.num_image_tokens + 1  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options"),
    slow_except(product(("pipe", "flow_pipe"), (GREEDY, VARIED)), ("pipe", GREEDY), ("flow_pipe", VARIED)),
)
def test_turns_on_a_saved_prefix_equal_the_same_text_computed_from_scratch(
    kind: str, request: Any, images: Tensor, options: TextSampling
) -> None:
    pipe: JanusPipeline = request.getfixturevalue(kind)
    turns = [("What is this?", images[:1]), ("Why?", None), ("Compare them.", [images[1], images[2]])]
    conversation: Conversation | None = None
    for number, (question, shown) in enumerate(turns):
        before = conversation
        conversation = pipe.chat(question, shown, before, options)
        scratch = from_scratch(pipe, conversation, options)
        # Ids as well: what was read is the rendered text and the ids that were drawn.
        assert conversation.saved_prefix.token_keys == scratch.saved_prefix.token_keys
        assert conversation.turns == scratch.turns
        assert (before is None) == (conversation.tokens_reused == 0) == (number == 0)
        assert scratch.tokens_reused == 0
        assert scratch.tokens_read == conversation.tokens_read + conversation.tokens_reused
    assert [turn.num_images for turn in conversation.turns] == [1, 0, 2]


def test_only_new_tokens_are_computed(pipe: JanusPipeline, images: Tensor) -> None:
    one_token = TextSampling(max_new_tokens=1)  # which is drawn and not read
    with counted_tokens(pipe) as sizes:
        first = pipe.chat("What is this?", images[:1], options=one_token)
        second = pipe.chat(
            "And why is that so?", conversation=first.answered("It is red."), options=one_token
        )
    assert sizes == [first.tokens_read, second.tokens_read]
    assert second.tokens_read < 40 < 100 < second.tokens_reused


def test_ten_questions_about_an_image_encode_and_prefill_it_once(pipe: JanusPipeline, images: Tensor) -> None:
    questions = [f"Is this number {number}?" + " Or not?" * (number % 3) for number in range(10)]
    one_token = TextSampling(max_new_tokens=1)
    with counted_tokens(pipe) as alone, counted_images(pipe) as looks:
        expected = [pipe.understand(images[:1], question, one_token)[0] for question in questions]
    assert len(looks) == 10
    with counted_tokens(pipe) as together, counted_images(pipe) as looks:
        assert pipe.understand(images[:1], questions, one_token) == expected
    assert looks == [1]
    assert (sum(together), sum(alone)) == (346, 1583)  # as dev/benchmarks/README.md says
    said = pipe.converse(images[:1], questions, SHORT)
    assert [each.answer for each in said] == pipe.understand(images[:1], questions, SHORT)
    assert said[0].tokens_reused == 0
    assert {each.tokens_reused for each in said[1:]} == {together[0]}


@pytest.mark.parametrize(
    ("rows_at_once", "options"), slow_except(product((1, 3, 8), (SHORT, VARIED)), (3, VARIED), (8, SHORT))
)
def test_branches_equal_their_single_turns_for_any_split(
    pipe: JanusPipeline,
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    options: TextSampling,
    rows_at_once: int,
) -> None:
    first = pipe.chat("What is this?", images[:1], options=SHORT)
    questions = ["Why?", "And this here, what does it show?", "What?", "Tell me more of the colours.", "So?"]
    places = [images, images[2]]
    alone = [
        pipe.chat(question, [images[row], images[2]], first, replace(options, seed=options.seed + row))
        for row, question in enumerate(questions)
    ]
    monkeypatch.setattr(pipe, "max_batch_size", rows_at_once)
    branches = pipe.converse(places, questions, options, conversation=first)
    assert [branch.turns for branch in branches] == [each.turns for each in alone]
    for branch, each in zip(branches, alone, strict=True):
        assert pipe.chat("And?", None, branch, SHORT).turns == pipe.chat("And?", None, each, SHORT).turns


def test_branches_are_independent_and_share_their_saved_prefix(pipe: JanusPipeline, images: Tensor) -> None:
    first = pipe.chat("What is this?", images[:1], options=SHORT)
    kept = [part.clone() for parts in first.saved_prefix.kv_segments for part in parts]
    one, other = (pipe.chat(question, None, first, SHORT) for question in ("Why?", "Where?"))
    again = pipe.chat("Why?", None, first, SHORT)
    assert again.turns == one.turns != other.turns
    assert all(map(torch.equal, kept, (part for parts in first.saved_prefix.kv_segments for part in parts)))
    assert one.image_embeds is other.image_embeds is first.image_embeds
    pointers = {each.saved_prefix.kv_segments[0][0].data_ptr() for each in (first, one, other)}
    assert len(pointers) == 1


def test_starting_over_or_asking_again_computes_few_tokens(pipe: JanusPipeline, images: Tensor) -> None:
    first = pipe.chat("What is this?", [images[0], images[1]], options=SHORT)
    afresh = pipe.chat("Why?", None, first.before(0), SHORT)
    assert afresh.turns == pipe.chat("Why?", [images[0], images[1]], options=SHORT).turns
    assert afresh.tokens_read < 25
    again = pipe.chat("What is this?", None, first.before(-1), SHORT)
    assert again.turns == first.turns
    assert again.tokens_read == 1


def test_a_prefix_of_another_model_is_computed_again(
    pipe: JanusPipeline, golden_root: Path, images: Tensor
) -> None:
    first = pipe.chat("What is this?", images[:1], options=SHORT)
    twin = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)
    second = twin.chat("Why?", None, first, SHORT)
    assert second.turns == pipe.chat("Why?", None, first, SHORT).turns
    assert second.tokens_reused == 0
    rounded = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.bfloat16)
    assert rounded.chat("Why?", None, first, SHORT).tokens_reused == 0
    text = pipe.chat("Hello!", options=SHORT)
    moved = replace(pipe, device=torch.device("meta"))
    assert not text.saved_prefix.is_valid_for(moved, None)


def test_a_prefix_with_other_images_is_computed_again(pipe: JanusPipeline, images: Tensor) -> None:
    first = pipe.chat("What is this?", images[:1], options=SHORT)
    other = pipe.encode_vision(images[1:2]).image_embeds
    exchanged = pipe.chat("Why?", None, replace(first, image_embeds=other), SHORT)
    assert exchanged.tokens_reused == 0
    same = replace(first, image_embeds=first.image_embeds.clone())
    assert pipe.chat("Why?", None, same, SHORT).tokens_reused > 0


def test_saved_prefixes_are_in_main_memory_and_bounded(
    pipe: JanusPipeline, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = pipe.converse(images, "What is this?", SHORT)
    for each in said:
        assert {part.device.type for parts in each.saved_prefix.kv_segments for part in parts} == {"cpu"}
        assert each.image_embeds.device.type == "cpu"
    own = said[1].saved_prefix.kv_segments[-1]
    enough = said[0].saved_prefix.num_bytes + own[0].nbytes + own[1].nbytes
    monkeypatch.setattr(answering, "SAVED_PREFIX_BYTES", enough)
    bounded = pipe.converse(images, "What is this?", SHORT)
    assert [each.saved_prefix is not None for each in bounded] == [True, True, False, False, False]
    forgotten, known = (pipe.chat("Why?", None, each[4], SHORT) for each in (bounded, said))
    assert forgotten.turns == known.turns
    assert forgotten.tokens_reused == 0 < known.tokens_reused
    assert [each.saved_prefix for each in pipe.converse(images, "What?", SHORT, remember=False)] == [None] * 5


def test_an_answer_is_asked_for_again_until_it_has_its_form(pipe: JanusPipeline, images: Tensor) -> None:
    tried: list[str] = []

    def third(answer: str) -> str:
        tried.append(answer)
        if len(tried) % 3:
            raise ValueError("answer must be the third, got another; try again")
        return f"{answer}!"

    with counted_images(pipe) as looks, counted_tokens(pipe) as sizes:
        said = pipe.chat("What is this?", images[:1], options=GREEDY, check=third)
    assert len(set(tried)) == 3
    assert said.answer == f"{tried[2]}!"
    assert (looks, said.tokens_read) == ([1], sizes[0] + 2)  # a retry reads the last token of the prompt
    greedy = pipe.chat("What is this?", images[:1], options=GREEDY)
    assert tried[0] == greedy.answer
    assert said.tokens_reused == greedy.tokens_reused


def test_asking_again_does_not_depend_on_the_batch(pipe: JanusPipeline, images: Tensor) -> None:
    def varied(answer: str) -> str:
        if answer in first:
            raise ValueError("answer must be another than the first, got that; try again")
        return answer

    first = pipe.understand(images[:2], "What is this?", VARIED)
    batch = pipe.understand(images[:2], "What is this?", VARIED, check=varied)
    assert set(batch).isdisjoint(first)
    said = pipe.converse(images[:2], "What is this?", VARIED, check=varied, remember=False)
    assert [(each.answer, each.saved_prefix) for each in said] == [(answer, None) for answer in batch]
    shifted = replace(VARIED, seed=VARIED.seed + 1)
    assert batch[1] == pipe.understand(images[1:2], "What is this?", shifted, check=varied)[0]


def test_an_answer_that_never_has_its_form_is_an_error(pipe: JanusPipeline) -> None:
    tried = []

    def never(answer: str) -> str:
        tried.append(answer)
        raise ValueError(f"answer must rhyme, got {answer!r}; ask for it")

    with pytest.raises(
        RuntimeError, match=r"(?s)answer must rhyme, .* \(answer \d, the last of 4 attempts\)"
    ):
        pipe.understand(None, "Hello!", SHORT, check=never)
    assert len(tried) == answering.ATTEMPTS == 4
