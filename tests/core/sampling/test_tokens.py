"""Image sampling: the reference's logits, ids and pixels, batches that equal single runs, and cancelling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TokenSampling
from janus_nodes.janus_core.models.janus import Janus
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling import tokens as tokens_module
from janus_nodes.janus_core.sampling.guidance import guide
from janus_nodes.janus_core.sampling.tokens import sample_image_tokens
from support.checkpoints import random_model, small_config
from support.drawing import Forced, traced
from support.parametrize import slow_except
from support.sampling import published
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

PROMPT = "A small harbour beside a lighthouse, under a blue night sky."
LONG_PROMPT = "a long list of all that this picture should not show at all"
RUNS = {  # name: images, guidance scale, temperature of its draw
    "greedy_cfg5": (1, 5.0, 1.0),
    "greedy_cfg1": (1, 1.0, 1.0),
    "sample_t1_cfg5": (3, 5.0, 1.0),
    "sample_t2_cfg1.5": (2, 1.5, 2.0),
}


@pytest.mark.parametrize("name", RUNS)
def test_guided_logits_equal_the_reference_along_its_path(
    recorded: Any, pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    images, scale, temperature = RUNS[name]
    expected_tokens = recorded.tensor(f"imagegen/{name}.tokens")
    monkeypatch.setattr(tokens_module, "TokenSampler", Forced(expected_tokens))
    prompt = pipe.prompts.generation(PROMPT, "", use_cfg=True, num_new=16)
    # A scale of 1 is run a hair beside it, for the reference's unconditional row is recorded there, too.
    scale = scale if scale != 1.0 else 1.0 + 1e-7
    options = published(TokenSampling(guidance_scale=scale, lookahead=1))
    with traced(pipe.model) as trace:
        tokens = sample_image_tokens(pipe.model, prompt, options, range(images)).tokens
    assert tokens.tolist() == expected_tokens.tolist()
    compared = 0
    for step, logits in enumerate(trace.logits):
        guided = guide(logits, options.guidance_scale)
        found = {
            "cond": logits[:images],
            "uncond": logits[images:],
            "guided": guided,
            "probs": (guided / temperature).softmax(dim=-1),
            # The reference's rows alternate between conditional and unconditional.
            "hidden": trace.hidden[step].view(2, images, -1).transpose(0, 1).flatten(0, 1),
            "inputs_embeds": trace.inputs[step],
        }
        for kind, tensor in found.items():
            if recorded.has(f"imagegen/{name}.step{step}.{kind}"):
                expected = recorded.tensor(f"imagegen/{name}.step{step}.{kind}")
                torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-4)
                compared += 1
    assert compared >= 7


@pytest.mark.parametrize("name", ["greedy_cfg5", "greedy_cfg1"])
def test_greedy_images_equal_the_reference(recorded: Any, pipe: JanusPipeline, name: str) -> None:
    _, scale, _ = RUNS[name]
    drawn = pipe.generate(PROMPT, TokenSampling(guidance_scale=scale, temperature=0.0))
    assert drawn.tokens.tolist() == recorded.tensor(f"imagegen/{name}.tokens").tolist()


def test_pixels_equal_the_reference(recorded: Any, pipe: JanusPipeline) -> None:
    tokens = recorded.tensor("imagegen/greedy_cfg5.tokens").long()
    pixels = pipe.model.generation.vq.decode(tokens.view(1, 4, 4))
    torch.testing.assert_close(pixels, recorded.tensor("imagegen/greedy_cfg5.pixels"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_bytes_equal_the_reference_but_for_rounding(recorded: Any, pipe: JanusPipeline, name: str) -> None:
    images = pipe.decode_tokens(recorded.tensor(f"imagegen/{name}.tokens"))
    # The reference truncates.
    found = (images * 255).to(torch.uint8)
    expected = recorded.tensor(f"imagegen/{name}.uint8")
    assert int((found.int() - expected.int()).abs().max()) <= 1
    assert float((found != expected).float().mean()) < 1e-3


def test_a_single_image_draws_what_the_reference_would(recorded: Any, pipe: JanusPipeline) -> None:
    assert recorded.value("multinomial_generator_equals_global_seed")
    prompt = pipe.prompts.generation(PROMPT, "", use_cfg=True, num_new=16)
    with traced(pipe.model) as trace:
        options = published(TokenSampling(seed=1234, lookahead=1))
        tokens = sample_image_tokens(pipe.model, prompt, options, [0]).tokens
    generator = torch.Generator().manual_seed(1234)
    drawn = [
        torch.multinomial(guide(logits, 5.0).softmax(dim=-1), 1, generator=generator).item()
        for logits in trace.logits
    ]
    assert tokens.tolist() == [drawn]


PROMPT_ROWS = [[3, 1, 4, 1, 5, 9, 2, 6], [7, 7, 7]]


@pytest.fixture(scope="module")
def model() -> Janus:
    """A random model of other sizes than the golden one."""
    return random_model(small_config(), seed=4)


@pytest.fixture
def prompt() -> PromptBatch:
    """A conditional and a shorter unconditional row."""
    return PromptBatch.from_rows(PROMPT_ROWS, 0, -1)


@pytest.mark.parametrize("temperature", slow_except([0.0, 1.0], 1.0))
def test_image_i_of_a_batch_is_the_single_image_of_seed_plus_i(
    model: Janus, prompt: PromptBatch, temperature: float
) -> None:
    options = published(TokenSampling(temperature=temperature, top_k=60, top_p=0.98, seed=30))
    together = sample_image_tokens(model, prompt, options, range(5)).tokens
    for index in range(5):
        alone = sample_image_tokens(model, prompt, replace(options, seed=30 + index), [0]).tokens
        assert torch.equal(alone[0], together[index])
    split = [sample_image_tokens(model, prompt, options, rows).tokens for rows in ([0, 1, 2, 3], [4])]
    assert torch.equal(torch.cat(split), together)
    assert len({tuple(row) for row in together.tolist()}) == (5 if temperature else 1)


def test_guidance_scale_one_runs_one_condition(pipe: JanusPipeline) -> None:
    with traced(pipe.model) as trace:
        pipe.generate(PROMPT, TokenSampling(guidance_scale=1.0, batch_size=3, lookahead=1), pixels=False)
    assert trace.rows == [1] + [3] * 15
    with traced(pipe.model) as trace:
        pipe.generate(PROMPT, TokenSampling(guidance_scale=5.0, batch_size=3, lookahead=1), pixels=False)
    assert trace.rows == [2] + [6] * 15


def test_guidance_scale_one_equals_the_formula(pipe: JanusPipeline) -> None:
    exact = pipe.generate(PROMPT, TokenSampling(guidance_scale=1.0, seed=6), pixels=False).tokens
    formula = pipe.generate(PROMPT, TokenSampling(guidance_scale=1.0 + 1e-9, seed=6), pixels=False).tokens
    assert torch.equal(exact, formula)


@pytest.mark.parametrize(
    "negative",
    slow_except(["", "ugly", LONG_PROMPT], "", LONG_PROMPT),
)
def test_the_unconditional_sequence_does_not_affect_the_conditional_one(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, negative: str
) -> None:
    path = pipe.generate(PROMPT, TokenSampling(seed=8), pixels=False).tokens
    traces = []
    for guided in (False, True):
        monkeypatch.setattr(tokens_module, "TokenSampler", Forced(path))
        prompt = pipe.prompts.generation(PROMPT, negative, guided, num_new=16)
        with traced(pipe.model) as trace:
            options = published(TokenSampling(guidance_scale=5.0 if guided else 1.0, lookahead=1))
            sample_image_tokens(pipe.model, prompt, options, [0])
        traces.append(torch.cat([logits[:1] for logits in trace.logits]))
    torch.testing.assert_close(traces[1], traces[0], rtol=0, atol=1e-4)


def test_a_negative_prompt_has_an_effect_only_with_guidance(pipe: JanusPipeline) -> None:
    for scale, same in ((5.0, False), (1.0, True)):
        options = TokenSampling(guidance_scale=scale, temperature=0.0)
        usual = pipe.generate(PROMPT, options, pixels=False).tokens
        negative = pipe.generate(
            PROMPT, options, negative_prompt="a bright noon in the desert", pixels=False
        ).tokens
        assert torch.equal(usual, negative) is same


@pytest.fixture(scope="module")
def usual_tokens(model: Janus) -> Tensor:
    """What the usual options draw."""
    with torch.no_grad():
        prompt = PromptBatch.from_rows(PROMPT_ROWS, 0, -1)
        return sample_image_tokens(model, prompt, published(TokenSampling()), [0]).tokens


def test_the_same_options_draw_the_same_tokens(
    model: Janus, prompt: PromptBatch, usual_tokens: Tensor
) -> None:
    again = sample_image_tokens(model, prompt, published(TokenSampling()), [0]).tokens
    assert torch.equal(again, usual_tokens)


@pytest.mark.parametrize(
    "change",
    [{"guidance_scale": 2.0}, {"temperature": 3.0}, {"top_k": 2}, {"top_p": 0.2}, {"seed": 1}],
    ids=lambda change: next(iter(change)),
)
def test_every_option_has_an_effect(
    model: Janus, prompt: PromptBatch, usual_tokens: Tensor, change: dict[str, Any]
) -> None:
    changed = sample_image_tokens(model, prompt, published(TokenSampling(**change)), [0]).tokens
    assert changed.tolist() != usual_tokens.tolist()


def test_every_step_reports_the_tokens_so_far(model: Janus, prompt: PromptBatch) -> None:
    seen: list[tuple[int, int, list[list[int]]]] = []
    tokens = sample_image_tokens(
        model,
        prompt,
        published(TokenSampling(lookahead=1)),
        [0, 1],
        lambda step, total, state: seen.append((step, total, state.tolist())),
    ).tokens
    total = model.generation.config.num_tokens
    assert [step for step, _, _ in seen] == list(range(1, total + 1))
    assert {announced for _, announced, _ in seen} == {total}
    assert [state for _, _, state in seen] == [tokens[:, :step].tolist() for step in range(1, total + 1)]


def test_an_error_in_on_step_stops_the_run_unchanged(pipe: JanusPipeline) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(step: int, total: int, state: Tensor) -> None:
        if step == 5:
            raise Cancelled

    before = pipe.generate(PROMPT, TokenSampling(seed=2), pixels=False).tokens
    with pytest.raises(Cancelled):
        pipe.generate(PROMPT, TokenSampling(seed=2), on_step=cancel)
    assert torch.equal(pipe.generate(PROMPT, TokenSampling(seed=2), pixels=False).tokens, before)


@pytest.mark.parametrize("step", [0, 3])
def test_broken_numbers_are_an_error_at_any_step(
    prompt: PromptBatch, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    model = random_model(small_config())
    calls = []

    def break_later(module: Any, inputs: Any, output: Tensor) -> Tensor:
        calls.append(1)
        return output * torch.nan if len(calls) > step else output

    model.generation.head.register_forward_hook(break_later)
    with pytest.raises(RuntimeError, match="logits must be finite, got NaN or infinity"):
        sample_image_tokens(model, prompt, published(TokenSampling(lookahead=1)), [0])
