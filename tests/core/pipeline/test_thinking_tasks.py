"""think_and_draw: batches, given thoughts, rounds, tokens read, callbacks and notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, Parts, TextSampling, ThoughtImages, TokenSampling
from support.drawing import traced
from support.reserving import Reserved
from support.thinking import forced_text, greedy, with_roles
from torch import Tensor

PROMPT = "An orange bicycle."
FORMS = ("describe", "t2i-r1", "got-r1", "reasongen-r1", "janus-pro-r1")
OWN_THOUGHTS = ("describe", "t2i-r1", "reasongen-r1", "janus-pro-r1")
DRAWING = TokenSampling(guidance_scale=1.5, seed=11, batch_size=3)
THINKING = TextSampling(max_new_tokens=12, temperature=1.0, seed=5)


def single(pipe: JanusPipeline, form: str, index: int, rounds: int, **options: Any) -> ThoughtImages:
    """Image `index` of the batch by itself."""
    drawing = replace(DRAWING, batch_size=1, seed=DRAWING.seed + index)
    return pipe.think_and_draw(
        PROMPT, form, drawing, replace(THINKING, seed=THINKING.seed + index), rounds, **options
    )


@pytest.mark.parametrize("form", OWN_THOUGHTS)
def test_a_batch_equals_single_runs(form: str, pipe: JanusPipeline) -> None:
    pipe, rounds = replace(with_roles(pipe, form), max_batch_size=2), 2 if form == "janus-pro-r1" else 0
    batch = pipe.think_and_draw(PROMPT, form, DRAWING, THINKING, rounds)
    for index in range(3):
        alone = single(pipe, form, index, rounds)
        assert batch.tokens[index].tolist() == alone.tokens[0].tolist()
        assert batch.first_tokens[index].tolist() == alone.first_tokens[0].tolist()
        assert batch.thought_ids[index : index + 1] == alone.thought_ids
        assert batch.thoughts[index : index + 1] == alone.thoughts
        assert batch.reflections[index] == alone.reflections[0]
        torch.testing.assert_close(batch.images[index], alone.images[0], rtol=0, atol=1e-4)
        if batch.verdicts is not None and alone.verdicts is not None:
            torch.testing.assert_close(
                batch.verdicts[index], alone.verdicts[0], rtol=0, atol=1e-3, equal_nan=True
            )
    assert len({tuple(tokens) for tokens in batch.first_tokens.tolist()}) == 3


def test_one_thought_of_got_r1_is_that_of_the_first_image_in_every_batch(pipe: JanusPipeline) -> None:
    pipe = replace(with_roles(pipe, "got-r1"), max_batch_size=2)
    batch = pipe.think_and_draw(PROMPT, "got-r1", DRAWING, THINKING)
    thought = single(pipe, "got-r1", 0, 1).thought_ids[0]
    assert batch.thought_ids == [thought] * 3
    for index in range(3):
        alone = single(pipe, "got-r1", index, 1, thoughts=[thought])
        assert alone.tokens[0].tolist() == batch.tokens[index].tolist()


@pytest.mark.parametrize("form", ["describe", "t2i-r1", "got-r1", "reasongen-r1"])
def test_given_thoughts_take_the_place_of_the_text_pass(form: str, pipe: JanusPipeline) -> None:
    pipe = with_roles(pipe, form)
    drawn = pipe.think_and_draw(PROMPT, form, DRAWING, THINKING, rounds=0)
    with forced_text(pipe.model, None) as text_logits:
        again = pipe.think_and_draw(PROMPT, form, DRAWING, THINKING, rounds=0, thoughts=drawn.thought_ids)
    assert text_logits == []
    assert again.tokens.tolist() == drawn.tokens.tolist()
    assert again.thought_ids == drawn.thought_ids
    assert again.thoughts == drawn.thoughts
    assert again.notes == ()
    words = pipe.think_and_draw(PROMPT, form, DRAWING, THINKING, rounds=0, thoughts="a red bicycle")
    listed = pipe.think_and_draw(PROMPT, form, DRAWING, THINKING, rounds=0, thoughts=["a red bicycle"] * 3)
    assert words.tokens.tolist() == listed.tokens.tolist() != drawn.tokens.tolist()
    assert words.thoughts == ["a red bicycle"] * 3


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("form", ["got-r1", "reasongen-r1"])
def test_the_turn_and_the_thought_are_read_once(form: str, scale: float, pipe: JanusPipeline) -> None:
    with forced_text(pipe.model, {"4": pipe.prompts.tokenizer.image_start_id}), traced(pipe.model) as trace:
        drawn = pipe.think_and_draw(PROMPT, form, greedy(scale), TextSampling(max_new_tokens=24))
    assert len(drawn.thought_ids[0]) == 5
    read = [tuple(inputs.shape[:2]) for inputs in trace.inputs]
    # The turn, the thought, for guidance the blank row as far as that, the image start, the image.
    head, rows = read[0][1] + 1, 2 if scale != 1 else 1
    blank = [(1, head + 4)] if scale != 1 else []
    assert read == [(1, head - 1), *[(1, 1)] * 5, *blank, (rows, 1), *[(rows, 1)] * 15]


def test_the_asking_turn_is_read_once_for_all_images(pipe: JanusPipeline) -> None:
    with traced(pipe.model) as trace:
        pipe.think_and_draw(PROMPT, "t2i-r1", DRAWING, THINKING)
    longest = [len(inputs) for inputs in trace.inputs if inputs.shape[1] > 1]
    assert longest == [1, 6]  # the question alone, then the rows of the images


def test_guidance_of_1_costs_one_pass_per_token(pipe: JanusPipeline) -> None:
    for form in FORMS:
        with traced(pipe.model) as trace:
            pipe.think_and_draw(PROMPT, form, greedy(1.0), TextSampling(max_new_tokens=4), rounds=0)
        assert [len(logits) for logits in trace.logits] == [1] * 16
        assert set(trace.rows) == {1}


def test_rounds_keep_the_best_and_never_a_worse_one_than_the_first(pipe: JanusPipeline) -> None:
    no = TextSampling(max_new_tokens=4)
    verdicts = []
    for rounds in (1, 3):
        drawn = pipe.think_and_draw(PROMPT, "describe", replace(DRAWING, batch_size=4), no, rounds)
        assert drawn.verdicts is not None
        verdicts.append(drawn.verdicts)
        kept = drawn.verdicts[torch.arange(4), drawn.kept]
        assert torch.equal(kept, drawn.verdicts.nan_to_num(-1).amax(dim=1))
        scores = pipe.score(drawn.images, PROMPT)
        torch.testing.assert_close(scores, kept, rtol=0, atol=1e-4)
        assert bool((scores >= pipe.score(drawn.first_images, PROMPT) - 1e-6).all())
    assert torch.equal(verdicts[0].nan_to_num(-1), verdicts[1][:, :2].nan_to_num(-1))


def test_callbacks_count_to_the_end_and_can_cancel(pipe: JanusPipeline) -> None:
    texts: list[tuple[int, int]] = []
    steps: list[tuple[int, int]] = []
    images: list[int] = []

    def note(into: list[tuple[int, int]]) -> Callable[[int, int, Tensor], None]:
        return lambda step, total, state: into.append((step, total))

    small = replace(pipe, max_batch_size=2)
    small.think_and_draw(
        PROMPT,
        "t2i-r1",
        DRAWING,
        THINKING,
        on_text=note(texts),
        on_step=note(steps),
        on_image=lambda done, total: images.append(done),
    )
    assert texts == sorted(texts)
    assert {total for _, total in texts} == {24}
    assert steps == [(step, 32) for step in range(1, 33)]
    assert images == [1, 2, 3]

    def cancel(step: int, total: int, state: Tensor) -> None:
        raise InterruptedError

    for name in ("on_text", "on_step"):
        with pytest.raises(InterruptedError):
            pipe.think_and_draw(PROMPT, "got-r1", greedy(), THINKING, **{name: cancel})


def test_options_of_a_form_are_its_authors(pipe: JanusPipeline) -> None:
    limits = {form: pipe.thinking_options(form, seed=3) for form in FORMS}
    assert {form: options.max_new_tokens for form, options in limits.items()} == {
        "describe": 256,
        "t2i-r1": 512,
        "got-r1": 600,
        "reasongen-r1": 448,
        "janus-pro-r1": 80,
    }
    assert {options.seed for options in limits.values()} == {3}
    assert {form for form, options in limits.items() if options.temperature == 0} == {"describe"}


def test_auto_takes_the_form_of_the_checkpoint(pipe: JanusPipeline) -> None:
    assert pipe.resolve_thinking_form("auto") == "describe"
    trained = replace(pipe, thinking_form="reasongen-r1")
    assert trained.resolve_thinking_form("auto") == "reasongen-r1"
    few = TextSampling(max_new_tokens=4)
    drawn = trained.think_and_draw(PROMPT, options=greedy(), thinking=few)
    assert drawn.tokens.tolist() == pipe.think_and_draw(PROMPT, "reasongen-r1", greedy(), few).tokens.tolist()


def test_memory_is_asked_for_before_anything_is_read(pipe: JanusPipeline) -> None:
    def refuse(num_bytes: int, parts: Parts) -> None:
        assert num_bytes > 0
        raise MemoryError

    for form in FORMS:
        with traced(pipe.model) as trace, pytest.raises(MemoryError):
            replace(pipe, reserve=refuse).think_and_draw(PROMPT, form)
        assert trace.inputs == []


def test_scoring_reserves_no_memory_that_is_allocated_already(pipe: JanusPipeline) -> None:
    reserved = Reserved()
    few = TextSampling(max_new_tokens=4)
    replace(pipe, reserve=reserved.reserve).think_and_draw(PROMPT, "describe", greedy(), few)
    drawing, *scoring = reserved
    assert scoring
    assert max(scoring) < drawing
    assert set(reserved.parts) == {reserved.parts[0]}  # which stay on the device for other rounds
