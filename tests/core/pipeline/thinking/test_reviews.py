"""Reviews as Janus-Pro-R1's authors run them: judgement, reflection, and the new image after them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.pipeline.thinking.request import thinking_request
from janus_nodes.janus_core.pipeline.thinking.reviews import ReviewDrawer
from janus_nodes.janus_core.processing.thinking_forms import THINKING_FORMS
from janus_nodes.janus_core.processing.thinking_prompts import (
    blank_row,
    judging_tail,
    redrawing_tail,
    verdict_ids,
)
from janus_nodes.janus_core.sampling.steps import ignore_step
from support.drawing import traced
from support.thinking import IMAGE_STEPS, LIMIT, close, forced_text, greedy
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

FORM = "janus-pro-r1"
CASES = [f"{prompt}.{case}" for prompt in ("p0", "p1") for case in ("no", "no_limit", "yes")]
PARAMETERS = [(case, scale) for case in CASES for scale in (5, 1)]


def drawer(pipe: JanusPipeline, prompt: str, scale: float) -> ReviewDrawer:
    request = thinking_request(pipe, prompt, FORM, greedy(scale), LIMIT, 1, None, None)
    return ReviewDrawer(pipe, request, ignore_step, ignore_step)


def compare(recorded: Any, logits: list[Tensor], key: str, scale: float) -> None:
    """Compares image logits; ours are without the unconditional row at guidance 1."""
    rows, combined = recorded.tensor(f"{key}.rows"), recorded.tensor(f"{key}.combined")
    for step, row, guided in zip(IMAGE_STEPS, rows, combined, strict=True):
        found = logits[step]
        close(found, row[: len(found)], 2e-4)
        close(found[-1:] + scale * (found[:1] - found[-1:]) if scale != 1 else found, guided, 2e-4)


@pytest.mark.parametrize("scale", [5, 1])
@pytest.mark.parametrize("prompt", ["p0", "p1"])
def test_first_images_equal_the_reference(
    prompt: str, scale: int, recorded: Any, pipe: JanusPipeline
) -> None:
    key, text = f"thinking/{FORM}.{prompt}.draw", recorded.value("thinking/prompts")[prompt]
    head = pipe.prompts.tokenizer.encode(pipe.prompts.generation_turn(text))
    assert [head, blank_row(pipe.prompts, head)] == recorded.tensor(f"{key}.rows").tolist()
    with traced(pipe.model) as trace:
        drawn = pipe.think_and_draw(text, FORM, greedy(scale), rounds=0)
    compare(recorded, trace.logits, f"{key}.w{scale}", scale)
    tokens = recorded.value(f"{key}.w{scale}")["tokens"]
    assert drawn.tokens.tolist() == [tokens] == recorded.tensor(f"{key}.w{scale}.tokens").tolist()
    found = (drawn.images[0] * 255).to(torch.uint8).int()
    assert int((found - recorded.tensor(f"{key}.w{scale}.uint8").int()).abs().max()) <= 1
    assert len(trace.logits) == 16  # rounds=0 only draws
    assert (drawn.verdicts, drawn.reflections) == (None, [[]])


@pytest.mark.parametrize(("case", "scale"), PARAMETERS)
def test_judgements_and_new_images_equal_the_reference(
    case: str, scale: int, recorded: Any, pipe: JanusPipeline
) -> None:
    """The judge looks at the recorded picture: one pixel value that rounds otherwise moves its logits."""
    value, key = recorded.value(f"thinking/{FORM}.{case}"), f"thinking/{FORM}.{case}.w{scale}"
    draw, expected = f"thinking/{FORM}.{case.split('.')[0]}.draw", value[f"w{scale}"]
    picture = recorded.tensor(f"{draw}.w{scale}.uint8")[None].float() / 255
    reviewer, head = drawer(pipe, value["prompt"], scale), recorded.tensor(f"{draw}.rows").tolist()
    seen: list[Tensor] = []
    hook = pipe.model.understanding.register_forward_hook(lambda *call: seen.append(call[2][1]))
    with forced_text(pipe.model, value["forced"]) as logits, traced(pipe.model) as trace:
        (verdict,) = reviewer.judge([0], picture, 0)
    hook.remove()
    close(seen[0][0], recorded.tensor(f"{draw}.w{scale}.seen"))
    if recorded.has(f"{key}.judge_embeds"):
        embeds = recorded.tensor(f"{key}.judge_embeds")
        close(torch.cat((trace.inputs[0][:1], trace.inputs[1]), dim=1), embeds)
    if recorded.has(f"{key}.text_logits"):
        close(torch.cat(logits[:8]), recorded.tensor(f"{key}.text_logits"), 2e-4)
    yes, no = logits[0][0, verdict_ids(pipe.prompts, THINKING_FORMS[FORM].review)].tolist()  # type: ignore[arg-type]
    assert (yes, no) == pytest.approx((expected["yes_logit"], expected["no_logit"]), abs=2e-4)
    ids = recorded.tensor(f"{key}.reflect_ids").tolist()
    assert verdict.keeps is expected["selfcheck"]
    assert verdict.reflection == expected["reflection"]
    assert verdict.reflection.is_cut == (expected["ended_by"] == "limit")
    if verdict.keeps:
        return
    batch = reviewer.redraw_batch([ids])
    if recorded.has(f"{key}.attention_mask"):
        mask = recorded.tensor(f"{key}.attention_mask").bool()
        assert torch.equal(batch.attention_mask, mask[:, len(head[0]) - 1 :])
        tail = recorded.tensor(f"{key}.tail_ids").tolist()
        assert batch.input_ids[0].tolist()[-len(tail) :] == tail
    with traced(pipe.model) as trace:
        tokens = reviewer.again([0], 1).tokens
    if recorded.has(f"{key}.inputs_embeds"):
        close(trace.inputs[0], recorded.tensor(f"{key}.inputs_embeds")[:, len(head[0]) - 1 :])
    compare(recorded, trace.logits, key, scale)
    assert tokens.tolist() == [expected["tokens"]] == recorded.tensor(f"{key}.tokens").tolist()
    if recorded.has(f"{key}.uint8"):
        found = (pipe.decode_tokens(tokens)[0] * 255).to(torch.uint8).int()
        assert int((found - recorded.tensor(f"{key}.uint8").int()).abs().max()) <= 1


@pytest.mark.parametrize("scale", [5, 1])
@pytest.mark.parametrize("prompt", ["p0", "p1"])
def test_shown_images_are_encoded_again(prompt: str, scale: int, recorded: Any, pipe: JanusPipeline) -> None:
    key = f"thinking/{FORM}.{prompt}.draw.w{scale}"
    picture = recorded.tensor(f"{key}.uint8").float() / 255
    codes = pipe.model.generation.encode(pipe.image_processor.cropped_pixels(picture))
    assert codes[0].tolist() == recorded.tensor(f"{key}.vq_indices").tolist()


def test_texts_and_turns_equal_the_reference(recorded: Any, pipe: JanusPipeline) -> None:
    review, texts = THINKING_FORMS[FORM].review, recorded.value(f"thinking/{FORM}.texts")
    assert review is not None
    assert judging_tail(pipe.prompts, review) == texts["selfcheck_ids"]
    assert redrawing_tail(pipe.prompts, review) == texts["regenerate_ids"]
    first = recorded.value(f"thinking/{FORM}.first_tokens")
    assert verdict_ids(pipe.prompts, review) == [first["yes"], first["no"]]
    for head in recorded.value(f"thinking/{FORM}.heads"):
        turn = pipe.prompts.generation_turn(head["prompt"])
        assert turn == head["inference.py"]["rendered"]
        assert pipe.prompts.tokenizer.encode(turn) == head["inference.py"]["ids"]


@pytest.mark.parametrize("scale", [5, 1])
def test_the_whole_run_draws_judges_and_draws_again(scale: int, recorded: Any, pipe: JanusPipeline) -> None:
    value = recorded.value(f"thinking/{FORM}.p0.no")
    with forced_text(pipe.model, value["forced"]):
        drawn = pipe.think_and_draw(value["prompt"], FORM, greedy(scale), LIMIT)
    assert drawn.tokens.tolist() == [value[f"w{scale}"]["tokens"]]
    assert drawn.first_tokens.tolist() == [recorded.value(f"thinking/{FORM}.p0.draw.w{scale}")["tokens"]]
    assert drawn.verdicts is not None
    assert drawn.verdicts[0, 0] < 0.5 < drawn.verdicts[0, 1]
    assert drawn.kept.tolist() == [1]
    assert drawn.reflections == [[value[f"w{scale}"]["reflection"]]]
    assert not torch.equal(drawn.first_images, drawn.images)


def test_a_yes_at_once_draws_nothing_more(recorded: Any, pipe: JanusPipeline) -> None:
    value = recorded.value(f"thinking/{FORM}.p0.yes")
    with forced_text(pipe.model, value["forced"]) as logits, traced(pipe.model) as trace:
        drawn = pipe.think_and_draw(value["prompt"], FORM, greedy(), LIMIT, rounds=3)
    assert len(trace.logits) == 16
    assert len(logits) == value["w5"]["steps"]
    assert torch.equal(drawn.tokens, drawn.first_tokens)
    assert drawn.verdicts is not None
    assert drawn.verdicts.isnan().tolist() == [[False, True, True, True]]


def test_the_prompt_is_read_once_for_images_and_judgements(recorded: Any, pipe: JanusPipeline) -> None:
    value = recorded.value(f"thinking/{FORM}.p0.no")
    with forced_text(pipe.model, value["forced"]), traced(pipe.model) as trace:
        pipe.think_and_draw(value["prompt"], FORM, greedy(1), LIMIT)
    head = len(recorded.tensor(f"thinking/{FORM}.p0.draw.rows")[0])
    lengths = [inputs.shape[1] for inputs in trace.inputs if inputs.shape[1] > 1]
    review = THINKING_FORMS[FORM].review
    assert review is not None
    judging, redrawing = judging_tail(pipe.prompts, review), redrawing_tail(pipe.prompts, review)
    judged = 1 + 16 + len(judging)
    # The turn; a picture with the question, twice; and once with the reflection of five tokens.
    assert lengths == [head - 1, judged, judged + value["w1"]["steps"] + len(redrawing), judged]
