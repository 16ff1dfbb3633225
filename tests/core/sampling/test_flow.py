"""Flow sampling: the reference's states and images, and batches that equal single runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import FlowSampling, JanusPipeline, load_pipeline
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.models.uvit import time_waves
from janus_nodes.janus_core.sampling.flow import VelocityField, integrate_flow
from janus_nodes.janus_core.sampling.guidance import guide
from janus_nodes.janus_core.sampling.image_sampler import IMAGE_SAMPLERS
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

PROMPT = "A small harbour beside a lighthouse, under a blue night sky."
SHAPE = (4, 8, 8)
CLOSE = {"rtol": 0, "atol": 1e-4}


def prompt_of(pipe: JanusPipeline, guided: bool = True, negative: str = "", text: str = PROMPT) -> Any:
    """The prompt of an image."""
    style = IMAGE_SAMPLERS[type(pipe.model.generation)].prompt_style
    return pipe.prompts.generation(text, negative, guided, pipe.model.generation.config.num_tokens, style)


@contextmanager
def rows_seen(pipe: JanusPipeline) -> Iterator[list[tuple[int, int]]]:
    """Notes rows and tokens of each pass through the body."""
    seen: list[tuple[int, int]] = []
    hook = pipe.model.body.register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(output.shape[:2]))
    )
    yield seen
    hook.remove()


def test_prompts_equal_the_reference(flow_recorded: Any, flow_pipe: JanusPipeline) -> None:
    batch = prompt_of(flow_pipe)
    tokens = flow_recorded.tensor("imagegen/cfg_tokens")
    assert batch.input_ids.tolist() == tokens[[0, 2], :-1].tolist()
    mask = flow_recorded.tensor("imagegen/attention_mask").bool()[[0, 2]]
    assert torch.equal(batch.attention_mask, mask[:, : batch.length])
    assert bool(mask[:, batch.length :].all())
    assert batch.length + flow_pipe.model.generation.config.num_tokens == mask.shape[1]
    assert batch.position_ids.tolist() == [list(range(batch.length))] * 2
    # Whichever tag ends the prompt, the time takes its place.
    for kind in ("app", "readme"):
        ids = flow_recorded.tensor(f"imagegen/input_ids_{kind}")
        assert ids[:-1].tolist() == batch.input_ids[0].tolist()
    rendered = flow_pipe.prompts.chat.question(PROMPT)
    for kind, tag in (("app", "<image_beg>"), ("readme", "<｜begin▁of▁generation｜>")):
        assert rendered + tag == flow_recorded.value(f"t2i.prompt_{kind}")


@pytest.mark.parametrize("scale", [2, 1])
def test_velocities_and_states_equal_the_reference(
    flow_recorded: Any, flow_pipe: JanusPipeline, scale: int
) -> None:
    # A scale of 1 is run with both rows, for the reference's unconditional row is recorded there, too.
    field = VelocityField(flow_pipe.model, prompt_of(flow_pipe), 0.0, images=2)
    cond = VelocityField(flow_pipe.model, prompt_of(flow_pipe, guided=False), 1.0, images=2)
    state = flow_recorded.tensor("imagegen/z0")
    compared = 0
    for step in range(8):
        found = {"v_uncond": field(state, step / 8), "v_cond": cond(state, step / 8)}
        found["v"] = found["v_uncond"] + scale * (found["v_cond"] - found["v_uncond"])
        state = state + found["v"] / 8
        time = torch.tensor([step / 8])
        embeds = flow_pipe.model.generation.encoder.time_embed(time, torch.float32)
        found |= {"z_after": state, "t": time.repeat(4) * 1000, "t_emb": embeds}
        found["time_proj"] = time_waves(time, 32)
        for kind, tensor in found.items():
            name = f"imagegen/cfg{scale}.step{step}.{kind}"
            if flow_recorded.has(name):
                torch.testing.assert_close(tensor, flow_recorded.tensor(name), **CLOSE)
                compared += 1
    assert compared >= 4
    torch.testing.assert_close(state, flow_recorded.tensor(f"imagegen/cfg{scale}.z_final"), **CLOSE)


@pytest.mark.parametrize("scale", [2, 1])
def test_images_equal_the_reference(flow_recorded: Any, flow_pipe: JanusPipeline, scale: int) -> None:
    options = FlowSampling(num_steps=8, guidance_scale=float(scale), batch_size=2)
    drawn = flow_pipe.generate(PROMPT, options, noise=flow_recorded.tensor("imagegen/z0"))
    expected = flow_recorded.tensor(f"imagegen/cfg{scale}.z_final")
    torch.testing.assert_close(drawn.latents, expected, **CLOSE)
    expected = flow_recorded.tensor(f"imagegen/cfg{scale}.decoded")[0].clamp(-1, 1).permute(1, 2, 0)
    torch.testing.assert_close(drawn.images[0] * 2 - 1, expected, **CLOSE)
    for name, rounding in (("uint8", 0.0), ("uint8_readme", 0.5)):
        found = (drawn.images * 255 + rounding).to(torch.uint8).int()
        expected = flow_recorded.tensor(f"imagegen/cfg{scale}.{name}").int()
        assert int((found - expected).abs().max()) <= 1


def test_the_prompt_is_read_once_and_that_changes_nothing(flow_pipe: JanusPipeline) -> None:
    model, prompt = flow_pipe.model, prompt_of(flow_pipe)
    latents = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    with rows_seen(flow_pipe) as seen:
        field = VelocityField(model, prompt, 2.0, images=3)
        reused = [field(latents, time) for time in (0.0, 0.3, 0.9)]
    assert seen == [(2, prompt.length)] + [(6, 17)] * 3
    for time, velocity in zip((0.0, 0.3, 0.9), reused, strict=True):
        parts = model.generation.embed_latents(latents, torch.full((3,), time))
        inputs_embeds, skip, time_embeds = (torch.cat((part, part)) for part in parts)
        text = model.embed_prompt(prompt).repeat_interleave(3, dim=0)
        mask = prompt.attention_mask.repeat_interleave(3, dim=0)
        cache = KVCache(model.body.config, 6, prompt.length + 17, "cpu", torch.float32)
        cache.mark_padding(mask)
        everything = torch.cat((text, inputs_embeds), dim=1)
        positions = torch.arange(prompt.length + 17).expand(6, -1)
        hidden = model.body(everything, positions, cache)[:, -17:]
        whole = guide(model.generation.velocity(hidden, skip, time_embeds), 2.0)
        torch.testing.assert_close(velocity, whole, rtol=0, atol=1e-5)


def test_reusing_the_prompt_is_what_the_reference_measured(flow_recorded: Any) -> None:
    assert flow_recorded.value("prefix_cache_max_abs_diff") == 0.0
    assert flow_recorded.value("prefix_cache_steps_run") == 7


@pytest.fixture(scope="module")
def slow_pipe(golden_root: Path) -> JanusPipeline:
    """The golden model without the fastest waves of time.

    Its random weights follow these (a thousand radians from noise to image), as no trained model does, and an
    order would only show with thousands of steps.
    """
    pipe = load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32)
    weight = pipe.model.generation.encoder.time_embed.linear_1.weight
    weight.unflatten(1, (2, -1))[:, :, :10] = 0.0
    return pipe


def solved(pipe: JanusPipeline, solver: str, num_steps: int) -> Tensor:
    """The latents of one image."""
    options = FlowSampling(num_steps=num_steps, solver=solver, guidance_scale=1.0, seed=3)
    return integrate_flow(pipe.model, prompt_of(pipe, guided=False), options, [0]).double()


@pytest.fixture(scope="module")
def exact(slow_pipe: JanusPipeline) -> Tensor:
    """The solution by 512 steps."""
    with torch.no_grad():
        return solved(slow_pipe, "midpoint", 512)


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_the_error_falls_with_the_solvers_order(
    slow_pipe: JanusPipeline, exact: Tensor, solver: str, order: int
) -> None:
    errors = torch.stack([(solved(slow_pipe, solver, steps) - exact).norm() for steps in (4, 8, 16, 32)])
    slopes = (errors[:-1] / errors[1:]).log2()
    torch.testing.assert_close(slopes, torch.full_like(slopes, order), rtol=0, atol=0.1)


def test_image_i_of_a_batch_is_the_single_image_of_seed_plus_i(flow_pipe: JanusPipeline) -> None:
    options = FlowSampling(num_steps=3, guidance_scale=2.0, seed=30, batch_size=11)
    together = flow_pipe.generate(PROMPT, options, pixels=False)
    assert together.images is None
    for index in (0, 4, 10):
        alone = flow_pipe.generate(PROMPT, replace(options, seed=30 + index, batch_size=1)).latents
        torch.testing.assert_close(alone[0], together.latents[index], rtol=0, atol=1e-5)
    split = [integrate_flow(flow_pipe.model, prompt_of(flow_pipe), options, part) for part in ([0, 1], [2])]
    torch.testing.assert_close(torch.cat(split), together.latents[:3], rtol=0, atol=1e-5)
    assert len({round(float(image.sum()), 3) for image in together.latents}) == 11


def test_given_noise_goes_to_its_own_image(flow_pipe: JanusPipeline) -> None:
    noise = torch.randn(9, *SHAPE, generator=torch.Generator().manual_seed(5))
    options = FlowSampling(num_steps=2, batch_size=9)
    together = flow_pipe.generate(PROMPT, options, noise=noise, pixels=False).latents
    alone = flow_pipe.generate(PROMPT, replace(options, batch_size=1), noise=noise[8:]).latents
    torch.testing.assert_close(alone[0], together[8], rtol=0, atol=1e-5)


def test_guidance_scale_one_runs_one_condition(flow_pipe: JanusPipeline) -> None:
    for scale, rows in ((1.0, 1), (2.0, 2)):
        with rows_seen(flow_pipe) as seen:
            flow_pipe.generate(PROMPT, FlowSampling(num_steps=3, guidance_scale=scale, batch_size=2))
        assert [count for count, _ in seen] == [rows] + [2 * rows] * 3


def test_second_order_steps_evaluate_the_model_twice(flow_pipe: JanusPipeline) -> None:
    for solver, looks in (("euler", 30), ("midpoint", 30), ("heun", 30)):
        with rows_seen(flow_pipe) as seen:
            num_steps = 30 if solver == "euler" else 15
            flow_pipe.generate(PROMPT, FlowSampling(num_steps=num_steps, solver=solver), pixels=False)
        assert len(seen) == 1 + looks


@pytest.mark.parametrize("negative", ["ugly", "a long list of all that this picture should not show at all"])
def test_a_negative_prompt_moves_away_from_its_own_velocity(flow_pipe: JanusPipeline, negative: str) -> None:
    latents = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(2))
    guided = VelocityField(flow_pipe.model, prompt_of(flow_pipe, True, negative), 3.0, 1)(latents, 0.4)
    wanted = VelocityField(flow_pipe.model, prompt_of(flow_pipe, False), 1.0, 1)(latents, 0.4)
    other = VelocityField(flow_pipe.model, prompt_of(flow_pipe, False, text=negative), 1.0, 1)(latents, 0.4)
    torch.testing.assert_close(guided, other + 3.0 * (wanted - other), **CLOSE)


@pytest.mark.parametrize(
    "change",
    [{"guidance_scale": 3.0}, {"num_steps": 4}, {"solver": "heun"}, {"seed": 1}, {"denoise": 0.5}],
    ids=lambda change: next(iter(change)),
)
def test_every_option_has_an_effect(flow_pipe: JanusPipeline, change: dict[str, Any]) -> None:
    latents = torch.ones(1, *SHAPE)
    options = FlowSampling(num_steps=3)
    usual = flow_pipe.generate(PROMPT, options, latents=latents, pixels=False).latents
    changed = flow_pipe.generate(PROMPT, replace(options, **change), latents=latents, pixels=False).latents
    assert not torch.allclose(usual, changed, atol=1e-4)
