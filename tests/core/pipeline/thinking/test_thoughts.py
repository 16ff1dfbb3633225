"""Thoughts and the images after them: rows, logits, ids and pixels as the authors' code computes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.processing.thinking_forms import THINKING_FORMS
from janus_nodes.janus_core.processing.thinking_prompts import asking_row, blank_row, image_row, without_end
from support.drawing import traced
from support.thinking import IMAGE_STEPS, LIMIT, close, forced_text, greedy, with_roles

pytestmark = pytest.mark.usefixtures("no_grad")

CASES = {
    "t2i-r1": ("p0.limit", "p0.eos5", "p0.edges", "p1.limit", "p1.eos5"),
    "got-r1": ("p0.limit", "p0.boi5", "p0.eos5", "p0.boxes", "p1.limit", "p1.boi5"),
    "reasongen-r1": ("p0.limit", "p0.boi5", "p0.eos5", "p1.limit", "p1.boi5", "p1.eos5"),
}


@pytest.mark.parametrize("case", [f"{form}.{case}" for form, cases in CASES.items() for case in cases])
def test_thoughts_and_images_equal_the_reference(case: str, recorded: Any, pipe: JanusPipeline) -> None:
    form, value = case.split(".")[0], recorded.value(f"thinking/{case}")
    pipe = with_roles(pipe, form)
    question = recorded.value("thinking/t2i-r1.question") if form == "t2i-r1" else None
    assert value["prompt"] == recorded.value("thinking/prompts")[case.split(".")[1]]
    for scale in [scale for scale in (5, 1) if f"w{scale}" in value]:
        key, expected = f"thinking/{case}.w{scale}", value[f"w{scale}"]
        with forced_text(pipe.model, value["forced"]) as text_logits, traced(pipe.model) as trace:
            drawn = pipe.think_and_draw(value["prompt"], form, greedy(scale), LIMIT, question=question)
        # The thought.
        logits = recorded.tensor(f"thinking/{case}.text_logits")
        close(torch.cat(text_logits[: len(logits)]), logits)
        assert drawn.thought_ids[0] == recorded.tensor(f"thinking/{case}.thought_ids").tolist()
        assert len(drawn.thought_ids[0]) == value["steps"]
        assert drawn.thoughts[0].is_cut == (value["ended_by"] == "limit")
        assert len(drawn.notes) == (value["ended_by"] == "limit")
        if form == "t2i-r1":
            assert drawn.thoughts[0] == value["thought"]
        # The image.
        rows = recorded.tensor(f"{key}.rows")
        for step, row, combined in zip(IMAGE_STEPS, rows, recorded.tensor(f"{key}.combined"), strict=True):
            close(trace.logits[step], row[: len(trace.logits[step])], 2e-4)
            guided = trace.logits[step]
            if scale != 1:
                guided = guided[1:] + scale * (guided[:1] - guided[1:])
            close(guided, combined, 2e-4)
        assert [len(logits) for logits in trace.logits] == [1 + (scale != 1)] * 16
        assert drawn.tokens.tolist() == [expected["tokens"]]
        assert drawn.tokens.tolist() == recorded.tensor(f"{key}.tokens").tolist()
        if recorded.has(f"{key}.uint8"):
            found = (drawn.images[0] * 255).to(torch.uint8).int()
            assert int((found - recorded.tensor(f"{key}.uint8").int()).abs().max()) <= 1


@pytest.mark.parametrize("case", [f"{form}.{case}" for form, cases in CASES.items() for case in cases])
def test_rows_equal_the_reference(case: str, recorded: Any, pipe: JanusPipeline) -> None:
    form, value = case.split(".")[0], recorded.value(f"thinking/{case}")
    thinking, prompts = THINKING_FORMS[form].thinking, with_roles(pipe, form).prompts
    assert thinking is not None
    asked = asking_row(prompts, thinking, value["prompt"], recorded.value("thinking/t2i-r1.question"))
    head = "ask_ids" if form == "t2i-r1" else "head_ids"
    assert asked == recorded.tensor(f"thinking/{case}.{head}").tolist()
    tokenizer = prompts.tokenizer.with_tokens(thinking.added_tokens)
    ends = [getattr(tokenizer, f"{name}_id") for name in thinking.ends]
    thought = without_end(recorded.tensor(f"thinking/{case}.thought_ids").tolist(), ends)
    if value["ended_by"] == "limit" and thinking.drops_last:
        thought = thought[:-1]
    row = image_row(prompts, thinking, asked, value["prompt"], thought)
    assert recorded.value("thinking/row_order") == ["cond", "uncond"]
    assert [row, blank_row(prompts, row)] == recorded.tensor(f"thinking/{case}.rows").tolist()
    if recorded.has(f"thinking/{case}.inputs_embeds"):
        embeds = pipe.model.body.embed(torch.tensor([row, blank_row(prompts, row)]))
        close(embeds, recorded.tensor(f"thinking/{case}.inputs_embeds"))
    if form == "got-r1":
        assert tokenizer.decode(thought) == value["text"].removesuffix("<begin_of_image>").replace(
            "<｜end▁of▁sentence｜>", ""
        ).replace("<|det|>", "").replace("<|/det|>", "")


def test_thoughts_of_different_lengths_are_drawn_together(recorded: Any, pipe: JanusPipeline) -> None:
    value = recorded.value("thinking/reasongen-r1.batch")
    assert value["equal_to_alone"]
    with forced_text(pipe.model, value["forced"]), traced(pipe.model) as trace:
        drawn = pipe.think_and_draw(value["prompt"], "reasongen-r1", greedy(batch_size=2), LIMIT)
    # The reference goes on with a text after its end; ours is padded.
    ids = recorded.tensor("thinking/reasongen-r1.batch.thought_ids").tolist()
    assert drawn.thought_ids == [ids[0][:5], ids[1]]
    order = [0, 2, 1, 3]  # ours: both images of a condition, then those of the next
    for step, rows, combined in zip(
        IMAGE_STEPS,
        recorded.tensor("thinking/reasongen-r1.batch.w5.rows"),
        recorded.tensor("thinking/reasongen-r1.batch.w5.combined"),
        strict=True,
    ):
        close(trace.logits[step], rows[order], 2e-4)
        cond, uncond = trace.logits[step].chunk(2)
        close(uncond + 5 * (cond - uncond), combined, 2e-4)
    tokens = recorded.tensor("thinking/reasongen-r1.batch.w5.tokens").tolist()
    assert drawn.tokens.tolist() == tokens == value["tokens"] == value["tokens_alone"]
    # The recorded rows hide the padding on the left, and count positions without it.
    rows, mask = (
        recorded.tensor(f"thinking/reasongen-r1.batch.{name}") for name in ("rows", "attention_mask")
    )
    batch = pipe.prompts.batch([row[seen.bool()].tolist() for row, seen in zip(rows, mask, strict=True)])
    assert torch.equal(batch.input_ids, rows)
    assert torch.equal(batch.attention_mask, mask.bool())
    assert torch.equal(batch.position_ids, recorded.tensor("thinking/reasongen-r1.batch.position_ids"))


def test_one_thought_of_got_r1_serves_all_images(recorded: Any, pipe: JanusPipeline) -> None:
    value, pipe = recorded.value("thinking/got-r1.parallel2"), with_roles(pipe, "got-r1")
    with forced_text(pipe.model, None) as logits, traced(pipe.model) as trace:
        drawn = pipe.think_and_draw(
            recorded.value("thinking/prompts")["p0"], "got-r1", greedy(batch_size=2), LIMIT
        )
    assert {len(each) for each in logits} == {value["text_rows"]}
    assert len(trace.logits[1]) == value["image_rows"]
    assert drawn.tokens.tolist() == value["tokens"]
    assert drawn.thought_ids[0] == drawn.thought_ids[1]


def test_turns_of_more_prompts_equal_the_reference(recorded: Any, pipe: JanusPipeline) -> None:
    question = recorded.value("thinking/t2i-r1.question").strip()
    for form in CASES:
        thinking, prompts = THINKING_FORMS[form].thinking, with_roles(pipe, form).prompts
        assert thinking is not None
        for head in recorded.value(f"thinking/{form}.heads"):
            row = asking_row(prompts, thinking, head["prompt"], question)
            assert row == head["ask_ids" if form == "t2i-r1" else "ids"]
            if form == "t2i-r1":
                thought = prompts.tokenizer.encode(head["thought"])[1:]
                drawn = prompts.tokenizer.encode(head["image_rendered"] + "<begin_of_image>")
                assert image_row(prompts, thinking, row, head["prompt"], thought) == drawn
    thinking, prompts = THINKING_FORMS["t2i-r1"].thinking, with_roles(pipe, "t2i-r1").prompts
    assert thinking is not None
    assert thinking.system_prompt == recorded.value("thinking/t2i-r1.system_prompt")
    empty = recorded.value("thinking/t2i-r1.their_question")["empty_thought"]
    row = image_row(prompts, thinking, [], recorded.value("thinking/prompts")["p1"], [])
    assert prompts.tokenizer.decode(row).endswith(empty["rendered_tail"])
    sampling, options = recorded.value("thinking/t2i-r1.sampling"), pipe.thinking_options("t2i-r1")
    assert (options.temperature, options.top_k, options.top_p) == (
        sampling["temperature"],
        sampling["top_k"],
        sampling["top_p"],
    )


def test_tokens_of_got_r1_are_added_once(recorded: Any, pipe: JanusPipeline) -> None:
    added, tokenizer = recorded.value("thinking/got-r1.added_tokens"), pipe.prompts.tokenizer
    assert tokenizer.encode(added["sample"])[1:] == added["sample_ids_before"]
    extended = tokenizer.with_tokens(added["tokens"])
    assert extended.encode(added["sample"])[1:] == added["sample_ids_after"]
    assert extended.decode(added["sample_ids_after"]) == added["sample_decoded_skip_special"]
    assert tokenizer.decode(added["sample_ids_after"]) == added["decoded_without_them"]
    assert extended.with_tokens(added["tokens"]) is extended
    assert extended.max_id == added["ids"][-1]
    assert tokenizer.max_id < added["ids"][0]  # the checkpoint's own is left as it was
