"""Text generation: the reference's ids, batches that equal single runs, and cancelling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEFAULT_SYSTEM_PROMPT, JanusPipeline, TextSampling
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling.text import sample_text
from support.checkpoints import random_model, small_config
from support.parametrize import slow_except
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

GREEDY = TextSampling(max_new_tokens=24)
VARIED = TextSampling(
    max_new_tokens=12, temperature=1.3, top_k=50, top_p=0.97, min_p=0.01, repetition_penalty=1.2, seed=41
)
Picture = Callable[[str], Tensor]


def conversations(
    recorded: Any, pipe: JanusPipeline, picture: Picture, *names: str
) -> tuple[PromptBatch, Tensor | None]:
    """Recorded conversations as one batch, and the embeddings of their images in reading order."""
    tokenizer = pipe.prompts.tokenizer
    rows = [
        pipe.prompts.encode(
            pipe.prompts.chat.render(recorded.messages(name), DEFAULT_SYSTEM_PROMPT),
            len(recorded.images(name)),
        )
        for name in names
    ]
    pictures = [picture(image) for name in names for image in recorded.images(name)]
    # The reference ignores alpha.
    embeds = [pipe.encode_vision(image[None, ..., :3]).image_embeds for image in pictures]
    batch = PromptBatch.from_rows(rows, tokenizer.pad_id, tokenizer.image_id)
    return batch, torch.cat(embeds) if embeds else None


@pytest.mark.parametrize("name", ["text_only", "one_image", "two_images", "multi_turn", "batch"])
def test_greedy_answers_equal_the_reference(
    recorded: Any, pipe: JanusPipeline, picture: Picture, name: str
) -> None:
    names = ["one_image", "text_only", "two_images"] if name == "batch" else [name]
    prompt, embeds = conversations(recorded, pipe, picture, *names)
    tokens = sample_text(pipe.model, prompt, embeds, GREEDY, pipe.prompts.tokenizer.eos_id)
    assert tokens.tolist() == recorded.tensor(f"understand/{name}.greedy_ids").tolist()
    assert pipe.decode_text(tokens) == recorded.value(f"understand.{name}.greedy_text")


def test_the_stop_token_ends_an_answer_and_is_part_of_it(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    prompt, embeds = conversations(recorded, pipe, picture, "one_image")
    stop = recorded.value("understand.eos_override_id")
    tokens = sample_text(pipe.model, prompt, embeds, GREEDY, stop)
    assert tokens.tolist() == recorded.tensor("understand/one_image.greedy_ids_eos_override").tolist()
    assert int(tokens[0, -1]) == stop


def test_an_answer_that_ended_is_filled_up_and_the_others_continue(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    prompt, embeds = conversations(recorded, pipe, picture, "one_image", "text_only")
    stop = recorded.value("understand.eos_override_id")
    tokens = sample_text(pipe.model, prompt, embeds, GREEDY, stop)
    ended = recorded.tensor("understand/one_image.greedy_ids_eos_override")[0]
    assert tokens[0].tolist() == ended.tolist() + [stop] * (24 - len(ended))
    assert tokens[1].tolist() == recorded.tensor("understand/text_only.greedy_ids")[0].tolist()


@pytest.mark.parametrize("options", slow_except([GREEDY, VARIED], VARIED))
def test_each_answer_of_a_batch_equals_its_single_run(
    recorded: Any, pipe: JanusPipeline, picture: Picture, options: TextSampling
) -> None:
    names = ["two_images", "text_only", "multi_turn", "one_image"]
    eos_id = pipe.prompts.tokenizer.eos_id
    prompt, embeds = conversations(recorded, pipe, picture, *names)
    together = sample_text(pipe.model, prompt, embeds, options, eos_id)
    for index, name in enumerate(names):
        prompt, embeds = conversations(recorded, pipe, picture, name)
        shifted = replace(options, seed=options.seed + index)
        alone = sample_text(pipe.model, prompt, embeds, shifted, eos_id)[0].tolist()
        expected = together[index].tolist()
        assert alone + [eos_id] * (len(expected) - len(alone)) == expected


def test_cached_decoding_equals_full_forward_passes(
    recorded: Any, pipe: JanusPipeline, picture: Picture
) -> None:
    prompt, embeds = conversations(recorded, pipe, picture, "one_image")
    body = pipe.model.body
    inputs_embeds = pipe.model.embed_prompt(prompt, embeds)
    written: list[int] = []
    for _ in range(10):
        more = body.embed_tokens(torch.tensor([written], dtype=torch.long))
        whole = torch.cat((inputs_embeds, more), dim=1)
        cache = KVCache(body.config, 1, whole.shape[1], "cpu", torch.float32)
        hidden_states = body(whole, torch.arange(whole.shape[1])[None], cache)
        written.append(int(body.lm_head(hidden_states[:, -1]).argmax()))
    options = replace(GREEDY, max_new_tokens=10)
    tokens = sample_text(pipe.model, prompt, embeds, options, pipe.prompts.tokenizer.eos_id)
    assert tokens.tolist() == [written]


def test_every_step_reports_the_tokens_so_far(pipe: JanusPipeline) -> None:
    prompt = pipe.prompts.understanding(["Hello", "Who are you?"], 0, "")
    seen: list[tuple[int, int, list[list[int]]]] = []
    tokens = sample_text(
        pipe.model, prompt, None, replace(GREEDY, max_new_tokens=5), -1,
        on_step=lambda step, total, state: seen.append((step, total, state.tolist())),
    )  # fmt: skip
    assert [step for step, _, _ in seen] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in seen} == {5}
    assert [state for _, _, state in seen] == [tokens[:, :step].tolist() for step in range(1, 6)]


def test_an_error_in_on_step_stops_the_run_unchanged(pipe: JanusPipeline) -> None:
    class Cancelled(BaseException):
        pass

    calls = []

    def cancel(step: int, total: int, state: Tensor) -> None:
        calls.append(step)
        if step == 3:
            raise Cancelled

    question = "Hello there! How many birds are there?"
    before = pipe.understand(None, question, GREEDY)
    with pytest.raises(Cancelled):
        pipe.understand(None, question, GREEDY, on_step=cancel)
    assert calls == [1, 2, 3]
    assert pipe.understand(None, question, GREEDY) == before


def test_answers_end_where_the_context_does_also_in_a_batch() -> None:
    model = random_model(small_config(max_position_embeddings=30))
    generator = torch.Generator().manual_seed(2)
    short, long = (torch.randint(0, 400, (length,), generator=generator).tolist() for length in (5, 21))
    options = TextSampling(max_new_tokens=100)

    def answers(*rows: list[int]) -> Tensor:
        return sample_text(model, PromptBatch.from_rows(list(rows), 0, -1), None, options, 500)

    # 500 does not come up, so that only the context ends a row.
    assert answers(short).shape == (1, 25)
    assert answers(long).shape == (1, 9)
    together = answers(short, long)
    assert together[0].tolist() == answers(short)[0].tolist()
    assert together[1].tolist() == answers(long)[0].tolist() + [500] * 16


SAMPLED = TextSampling(max_new_tokens=20, temperature=1.0)


def greeting(pipe: JanusPipeline, options: TextSampling) -> Tensor:
    """The answer to a greeting, as token ids."""
    prompt = pipe.prompts.understanding(["Hello there!"], 0, "")
    return sample_text(pipe.model, prompt, None, options, pipe.prompts.tokenizer.eos_id)


@pytest.fixture(scope="module")
def usual_tokens(pipe: JanusPipeline) -> Tensor:
    """The answer to a greeting with `SAMPLED`."""
    with torch.no_grad():
        return greeting(pipe, SAMPLED)


def test_the_same_options_draw_the_same_answer(pipe: JanusPipeline, usual_tokens: Tensor) -> None:
    assert torch.equal(greeting(pipe, SAMPLED), usual_tokens)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 2.0},
        {"top_k": 2},
        {"top_p": 0.3},
        {"min_p": 0.5},
        {"repetition_penalty": 3.0},
        {"seed": 1},
        {"max_new_tokens": 7},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_option_has_an_effect(
    pipe: JanusPipeline, usual_tokens: Tensor, change: dict[str, Any]
) -> None:
    assert greeting(pipe, replace(SAMPLED, **change)).tolist() != usual_tokens.tolist()


@pytest.mark.parametrize("options", [GREEDY, VARIED], ids=["greedy", "sampled"])
def test_generation_continues_from_a_cache(pipe: JanusPipeline, options: TextSampling) -> None:
    prompt = pipe.prompts.understanding(["Hello there!", "Hello to all who are here."], 0, "Be brief.")
    eos_id = pipe.prompts.tokenizer.eos_id
    expected = sample_text(pipe.model, prompt, None, options, eos_id)
    first = pipe.prompts.understanding(["Hello there!"], 0, "Be brief.").part(0, 9)
    begin = KVCache(pipe.model.body.config, 1, 9, "cpu", torch.float32)
    pipe.model.body(pipe.model.embed_prompt(first), first.position_ids, begin)
    cache = begin.repeat(2, 9)
    tokens = sample_text(pipe.model, prompt.part(9), None, options, eos_id, cache=cache)
    assert tokens.tolist() == expected.tolist()
    assert cache.length == prompt.length + tokens.shape[1] - 1
    assert begin.length == 9


def test_broken_numbers_are_an_error(pipe: JanusPipeline) -> None:
    prompt = pipe.prompts.understanding(["What?"], 1, "")
    embeds = torch.full((1, 16, 64), torch.nan)
    with pytest.raises(RuntimeError, match=r"logits must be finite, got NaN or infinity from a model in"):
        sample_text(pipe.model, prompt, embeds, GREEDY, 0)
