"""Flow sampling: start tensors, progress and refused inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import FlowSampling, JanusPipeline, TokenSampling
from janus_nodes.janus_core.sampling import flow as flow_module
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

PROMPT = "A cat"
SHAPE = (4, 8, 8)


def noise(seed: int, images: int = 1) -> Tensor:
    return torch.randn(images, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_denoise_zero_gives_the_input_back(flow_pipe: JanusPipeline) -> None:
    latents = noise(3, images=2)
    options = FlowSampling(denoise=0.0, batch_size=2)
    assert torch.equal(flow_pipe.generate(PROMPT, options, latents=latents).latents, latents)
    drawn = flow_pipe.generate(PROMPT, options, latents=latents[:1]).latents
    assert torch.equal(drawn, latents[:1].repeat(2, 1, 1, 1))


def test_denoise_one_ignores_the_latents(flow_pipe: JanusPipeline) -> None:
    options = FlowSampling(num_steps=2)
    with_latents = flow_pipe.generate(PROMPT, options, latents=noise(3)).latents
    assert torch.equal(flow_pipe.generate(PROMPT, options).latents, with_latents)


def test_given_latents_are_entered_on_the_straight_path(
    flow_pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, Tensor]] = []

    class Still:
        def __init__(self, *arguments: Any) -> None:
            pass

        def __call__(self, state: Tensor, time: float) -> Tensor:
            seen.append((time, state))
            return torch.ones_like(state)

    monkeypatch.setattr(flow_module, "VelocityField", Still)
    latents = noise(3)
    options = FlowSampling(num_steps=4, denoise=0.6, seed=7)
    drawn = flow_pipe.generate(PROMPT, options, latents=latents).latents
    assert [time for time, _ in seen] == pytest.approx([0.4, 0.55, 0.7, 0.85])
    torch.testing.assert_close(seen[0][1], 0.4 * latents + 0.6 * noise(7), rtol=0, atol=1e-6)
    # All steps together cover what is left of the time.
    torch.testing.assert_close(drawn, seen[0][1] + 0.6, rtol=0, atol=1e-5)


def test_every_step_reports_the_latents(flow_pipe: JanusPipeline) -> None:
    seen: list[tuple[int, int, Tensor]] = []
    options = FlowSampling(num_steps=4, batch_size=2)
    drawn = flow_pipe.generate(PROMPT, options, on_step=lambda *report: seen.append(report))
    assert [(step, total) for step, total, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(seen[-1][2], drawn.latents)
    assert len({float(state.sum()) for _, _, state in seen}) == 4


def test_an_error_in_on_step_stops_the_run_unchanged(flow_pipe: JanusPipeline) -> None:
    class Cancelled(BaseException):
        pass

    def cancel(step: int, total: int, state: Tensor) -> None:
        if step == 2:
            raise Cancelled

    options = FlowSampling(num_steps=4)
    before = flow_pipe.generate(PROMPT, options).latents
    with pytest.raises(Cancelled):
        flow_pipe.generate(PROMPT, options, on_step=cancel)
    assert torch.equal(flow_pipe.generate(PROMPT, options).latents, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"solver": "dpm"}, "solver must be one of euler, midpoint, heun, got 'dpm'; choose one of these"),
        ({"denoise": 1.1}, "denoise must be between 0 and 1, got 1.1"),
        ({"denoise": float("nan")}, "denoise must be between 0 and 1, got nan"),
        ({"guidance_scale": -1.0}, "guidance_scale must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be between 0 and"),
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowSampling(**change)


@pytest.mark.parametrize("name", ["noise", "latents"])
@pytest.mark.parametrize("shape", [(1, 4, 8, 9), (1, 16, 8, 8), (3, 4, 8, 8), (4, 8, 8)])
def test_latents_of_another_shape_are_refused(
    flow_pipe: JanusPipeline, name: str, shape: tuple[int, ...]
) -> None:
    starts: dict[str, Any] = {name: torch.zeros(shape)}
    fix = {"noise": "draw it with torch.randn", "latents": "encode images of 64 x 64 pixels"}[name]
    with pytest.raises(
        ValueError, match=rf"{name} must be a tensor \[.*2, 4, 8, 8\] of finite .*, got shape \[.*; {fix}"
    ):
        flow_pipe.generate(PROMPT, FlowSampling(batch_size=2), **starts)


@pytest.mark.parametrize("name", ["noise", "latents"])
@pytest.mark.parametrize("value", [[[0.0]], np.zeros((1, *SHAPE)), {"samples": torch.zeros(1, *SHAPE)}])
def test_latents_that_are_no_tensors_are_refused(flow_pipe: JanusPipeline, name: str, value: Any) -> None:
    starts: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=rf"{name} must be a tensor .*, got {type(value).__name__}; "):
        flow_pipe.generate(PROMPT, FlowSampling(), **starts)


@pytest.mark.parametrize("name", ["noise", "latents"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("denoise", [0.0, 0.5, 1.0])
def test_broken_latents_are_refused_and_not_the_model(
    flow_pipe: JanusPipeline, name: str, value: float, denoise: float
) -> None:
    starts = {"latents": noise(3).double(), "noise": noise(4).double()}
    starts[name][0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=rf"{name} must be .* of finite numbers, got NaN or infinity; "):
        flow_pipe.generate(PROMPT, FlowSampling(num_steps=1, denoise=denoise), **starts)


def test_denoise_without_latents_is_refused(flow_pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match=r"denoise must be 1 without latents, got 0\.5; pass"):
        flow_pipe.generate(PROMPT, FlowSampling(denoise=0.5))


def test_options_of_another_sampler_name_the_right_ones(
    pipe: JanusPipeline, flow_pipe: JanusPipeline
) -> None:
    expected = (
        "model must generate images with TokenSampling, got 'janusflow-tiny', which generates them by flow; "
        "use FlowSampling, or load another checkpoint"
    )
    with pytest.raises(ValueError, match=expected):
        flow_pipe.generate(PROMPT, TokenSampling())
    expected = (
        "model must generate images with FlowSampling, got 'janus-pro-tiny', which generates them token by "
        "token; use TokenSampling, or load another checkpoint"
    )
    with pytest.raises(ValueError, match=expected):
        pipe.generate(PROMPT, FlowSampling())
    with pytest.raises(
        ValueError, match="noise must be None for 'janus-pro-tiny', which generates images to"
    ):
        pipe.generate(PROMPT, noise=noise(0))


def test_a_prompt_longer_than_the_context_is_refused_and_a_long_one_works(flow_pipe: JanusPipeline) -> None:
    row = flow_pipe.prompts.encode("A " * 4096, 0)
    assert len(row) > 4096
    drawn = flow_pipe.generate("A " * 4096, FlowSampling(num_steps=1, guidance_scale=1.0))
    assert bool(torch.isfinite(drawn.latents).all())
    with pytest.raises(ValueError, match=r"context of 16384 tokens, got \d+ tokens and 17 more to write"):
        flow_pipe.generate("A " * 17000, FlowSampling(num_steps=1))


def test_broken_numbers_are_an_error(flow_pipe: JanusPipeline) -> None:
    hook = flow_pipe.model.generation.decoder.register_forward_hook(
        lambda module, inputs, output: output * torch.nan
    )
    try:
        with pytest.raises(RuntimeError, match="latents must be finite, got NaN or infinity"):
            flow_pipe.generate(PROMPT, FlowSampling(num_steps=2))
    finally:
        hook.remove()
