"""Estimates of memory: they grow with what is at work, and stop growing where the work is split."""

from __future__ import annotations

import torch
from janus_nodes.janus_core import (
    SCORE_TEMPLATE,
    EditSampling,
    JanusPipeline,
    TextSampling,
    TokenSampling,
    memory_for_pixels,
    memory_to_caption,
    memory_to_choose,
    memory_to_edit,
    memory_to_find_best,
    memory_to_generate,
    memory_to_reply,
    memory_to_score,
    memory_to_see,
    memory_to_understand,
)
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.pipeline.pipeline import ROWS_AT_ONCE
from janus_nodes.janus_core.pipeline.routing import TASKS
from janus_nodes.janus_core.processing.edit_forms import EDIT_FORMS
from janus_nodes.janus_core.processing.edit_prompts import edit_prompt


def test_answers_take_their_cache_at_least(pipe: JanusPipeline) -> None:
    options = TextSampling(max_new_tokens=300)
    question = "Describe the image in detail." * 10
    prompt = pipe.prompts.understanding([question], 1, "")
    cache = KVCache.num_bytes(pipe.model.config.body, 1, prompt.length + 300, pipe.dtype)
    one = memory_to_understand(pipe, torch.zeros(1, 8, 8, 3), question, options)
    assert one > cache
    assert memory_to_understand(pipe, torch.zeros(4, 8, 8, 3), question, options) > 3 * one
    full, more = (
        memory_to_understand(pipe, torch.zeros(rows, 8, 8, 3), question, options)
        for rows in (ROWS_AT_ONCE, 10 * ROWS_AT_ONCE)
    )
    assert full == more


def test_images_take_their_cache_at_least_and_guidance_doubles_it(pipe: JanusPipeline) -> None:
    plain, guided = (
        memory_to_generate(pipe, "A cat" * 10, TokenSampling(guidance_scale=scale, batch_size=4))
        for scale in (1.0, 5.0)
    )
    cache = KVCache.num_bytes(pipe.model.config.body, 4, 16, pipe.dtype)
    assert guided > plain > cache
    pixels = memory_for_pixels(pipe)
    assert guided - pixels == 2 * (plain - pixels)


def test_seeing_more_images_than_are_at_work_takes_no_more(pipe: JanusPipeline) -> None:
    assert memory_to_see(pipe, 2) == 2 * memory_to_see(pipe, 1) > 0
    assert memory_to_see(pipe, ROWS_AT_ONCE + 1) == memory_to_see(pipe, ROWS_AT_ONCE)


def test_a_conversation_takes_room_for_what_was_said_before(pipe: JanusPipeline) -> None:
    options = TextSampling(max_new_tokens=8)
    conversation = pipe.chat("What is this?", torch.rand(1, 8, 8, 3), options=options)
    new, more = (memory_to_understand(pipe, None, "Why?", options, past) for past in (None, conversation))
    length = conversation.tokens_read + conversation.tokens_reused
    assert more - new > KVCache.num_bytes(pipe.model.config.body, 2, length, pipe.dtype)


def test_edits_take_their_cache_at_least_and_no_more_than_what_is_at_work(pipe: JanusPipeline) -> None:
    question, body = "Make it night." * 10, pipe.model.config.body
    one, some, full, more = (
        memory_to_edit(pipe, question, EditSampling(candidates=candidates, batch_size=batch_size), True)
        for candidates, batch_size in ((1, 1), (2, 2), (ROWS_AT_ONCE, 1), (ROWS_AT_ONCE, 10))
    )
    assert one > KVCache.num_bytes(body, 2, len(question) // 4 + 16, pipe.dtype)
    assert one < some < full == more
    told, again = (memory_to_edit(pipe, question, EditSampling(candidates=count)) for count in (1, 8))
    prompt = edit_prompt(pipe.prompts, question, EDIT_FORMS["janus-4o"], 16, use_cfg=True, use_source=True)
    assert told == again > KVCache.num_bytes(body, 3, prompt.length + 16, pipe.dtype)


def test_only_a_description_takes_room_for_a_long_answer(pipe: JanusPipeline) -> None:
    image, drawing = torch.zeros(1, 8, 8, 3), TokenSampling()
    short, long = (
        [
            memory_to_reply(pipe, image, "A cat", task, TextSampling(max_new_tokens=count), drawing)
            for task in TASKS
        ]
        for count in (8, 10**6)
    )
    assert [few < many for few, many in zip(short, long, strict=True)] == [True, False, False, True]
    assert short[TASKS.index("generate")] == memory_to_generate(pipe, "A cat", drawing)


def test_choices_take_their_cache_and_logits_at_least(pipe: JanusPipeline) -> None:
    body, images = pipe.model.config.body, torch.zeros(4, 8, 8, 3)
    short, long = (memory_to_choose(pipe, images, "What?", ["x", "y" * count]) for count in (1, 500))
    added = KVCache.num_bytes(body, 4, 499, pipe.dtype) + 4 * 499 * body.vocab_size * 4
    assert long - short > added
    assert memory_to_choose(pipe, images, "What?", ["x"] * 100 + ["y"]) == short  # one after the other
    assert memory_to_choose(pipe, None, "What?", ["x", "y"]) < short
    full, more = (torch.zeros(rows, 1, 1, 3) for rows in (ROWS_AT_ONCE, 10 * ROWS_AT_ONCE))
    assert memory_to_score(pipe, full, "A cat", SCORE_TEMPLATE) > 1.9 * memory_to_score(
        pipe, images, "A cat", SCORE_TEMPLATE
    )
    assert memory_to_score(pipe, full, "A cat", SCORE_TEMPLATE) == memory_to_score(
        pipe, more, "A cat", SCORE_TEMPLATE
    )


def test_the_best_take_what_drawing_or_judging_takes(pipe: JanusPipeline) -> None:
    options = TokenSampling(batch_size=3)
    draw = memory_to_generate(pipe, "A cat", options)
    judge = memory_to_score(pipe, torch.zeros(3, 8, 8, 3), "A cat", SCORE_TEMPLATE)
    assert memory_to_find_best(pipe, "A cat", options, SCORE_TEMPLATE) == max(draw, judge)


def test_captions_take_what_a_full_batch_of_answers_takes(pipe: JanusPipeline) -> None:
    options = TextSampling(max_new_tokens=50)
    batch = torch.zeros(ROWS_AT_ONCE, 8, 8, 3)
    assert memory_to_caption(pipe, "What?", options) == memory_to_understand(pipe, batch, "What?", options)
