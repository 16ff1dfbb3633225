"""Drawing ahead gives the tokens of plain drawing, in fewer passes; every image goes at its own pace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, EditSampling, JanusPipeline, TokenSampling, load_pipeline
from janus_nodes.janus_core.models.cpu.packed_linear import OneDnnBf16Linear
from support.parametrize import slow_except
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_grad")

PROMPT, NEGATIVE = "A red star left of a blue circle.", "A green square above a yellow star and a blue ring."
SETTINGS: dict[str, dict[str, Any]] = {
    "its own": {},
    "published": {"guidance_scale": 5.0, "temperature": 1.0, "top_p": 1.0},
    "greedy": {"guidance_scale": 5.0, "temperature": 0.0},
    "top-k": {"guidance_scale": 3.0, "temperature": 1.0, "top_k": 20, "top_p": 1.0},
    "unguided": {"guidance_scale": 1.0},
}


def draw(pipe: JanusPipeline, options: TokenSampling, negative: str = "", prompt: str = PROMPT) -> Any:
    return pipe.generate(prompt, options, negative_prompt=negative, pixels=False)


@pytest.mark.parametrize(
    ("name", "negative"),
    slow_except(
        [(name, negative) for name in SETTINGS for negative in ("", NEGATIVE)],
        ("its own", ""),
        ("published", NEGATIVE),
        ("greedy", ""),
    ),
)
def test_drawing_ahead_gives_the_tokens_of_plain_drawing(
    shapes_pipe: JanusPipeline, name: str, negative: str
) -> None:
    options = TokenSampling(batch_size=8, seed=40, lookahead=1, **SETTINGS[name])
    plain = draw(shapes_pipe, options, negative)
    assert plain.passes == 35
    for window, images in ((2, 1), (3, 3), (8, 8), (36, 1)):
        ahead = draw(shapes_pipe, replace(options, batch_size=images, lookahead=window), negative)
        assert torch.equal(ahead.tokens, plain.tokens[:images])
        assert ahead.passes < plain.passes


@pytest.mark.parametrize("prompt", [PROMPT, "A ring."])  # where few slots are filled, kernels may be others
def test_the_bf16_layers_of_a_cpu_change_no_token_either(prompt: str) -> None:
    # Their inputs are rounded, so that a result in another last bit would often change a token.
    if not OneDnnBf16Linear.is_available() or not torch.backends.mkl.is_available():
        pytest.skip("needs oneDNN's bf16 layers and MKL's kernels")
    pipe = load_pipeline(DEMONSTRATION, dtype="bf16")
    options = TokenSampling(batch_size=8, seed=80, lookahead=1, **SETTINGS["published"])
    plain = draw(pipe, options, prompt=prompt)
    assert torch.equal(draw(pipe, replace(options, lookahead=8), prompt=prompt).tokens, plain.tokens)
    single = [replace(options, batch_size=1, seed=80 + image, lookahead=4) for image in range(3)]
    alone = [draw(pipe, each, prompt=prompt) for each in single]
    assert torch.equal(torch.cat([each.tokens for each in alone]), plain.tokens[:3])


def test_every_image_goes_at_its_own_pace(shapes_pipe: JanusPipeline) -> None:
    options = TokenSampling(batch_size=3, seed=7, lookahead=8)
    alone = [draw(shapes_pipe, replace(options, batch_size=1, seed=7 + image)) for image in range(3)]
    together = draw(shapes_pipe, options)
    assert together.tokens.tolist() == [each.tokens[0].tolist() for each in alone]
    assert len({each.passes for each in alone}) > 1  # else this could not tell
    assert together.passes == max(each.passes for each in alone)


def test_steps_see_certain_tokens_only(shapes_pipe: JanusPipeline) -> None:
    seen: list[Tensor] = []
    options = TokenSampling(batch_size=2, seed=3, lookahead=8)
    drawn = shapes_pipe.generate(
        PROMPT, options, pixels=False, on_step=lambda step, total, state: seen.append(state.clone())
    )
    lengths = [state.shape[1] for state in seen]
    assert lengths == sorted(set(lengths)) and lengths[0] == 1 and lengths[-1] == 36
    assert len(lengths) == drawn.passes + 1 < 36
    for state in seen:
        assert torch.equal(state, drawn.tokens[:, : state.shape[1]])

    def cancel(step: int, total: int, state: Tensor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shapes_pipe.generate(PROMPT, options, on_step=cancel)


def test_passes_are_logged_however_images_are_drawn(
    pipe: JanusPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "janus_nodes.janus_core.sampling.drawing")
    options = EditSampling(batch_size=2, candidates=1, lookahead=4)
    image, mask = torch.rand(64, 64, 3), torch.zeros(64, 64)
    mask[:, 32:] = 1
    drawn = pipe.generate(PROMPT, TokenSampling(lookahead=4), pixels=False)
    masked = pipe.edit(image, PROMPT, options, mask=mask)
    by_instruction = pipe.edit(image, PROMPT, options, form="janus-4o")
    assert caplog.messages == [
        f"Drew 16 tokens of each of 1 images in {drawn.passes} passes.",
        f"Drew 8 tokens of each of 2 images in {masked.passes} passes.",
        f"Drew 16 tokens of each of 2 images in {by_instruction.passes} passes.",
    ]


@pytest.mark.parametrize("lookahead", slow_except([2, 3, 8, 36], 3))
def test_inpainting_ahead_keeps_the_same_tokens_and_candidates(
    shapes_pipe: JanusPipeline, lookahead: int
) -> None:
    image, mask = torch.rand(96, 96, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(96, 96)
    mask[20:70, 30:80] = 1
    options = EditSampling(candidates=3, batch_size=2, strength=0.8, seed=5, lookahead=1)
    plain = shapes_pipe.edit(image, "a red star", options, mask=mask)
    ahead = shapes_pipe.edit(image, "a red star", replace(options, lookahead=lookahead), mask=mask)
    assert torch.equal(ahead.tokens, plain.tokens)
    assert ahead.passes < plain.passes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images", "window", "least"),
    [("its own", 1, 8, 3.5), ("published", 1, 8, 2.0), ("its own", 3, 16, 2.5)],
)
def test_drawing_ahead_takes_a_fraction_of_the_passes(
    shapes_pipe: JanusPipeline, name: str, images: int, window: int, least: float
) -> None:
    """Of 12 images; `dev.benchmarks.ahead --turns 200` compares more of them, for all windows."""
    plain_passes = ahead_passes = 0
    for seed in range(0, 12, images):
        options = TokenSampling(batch_size=images, seed=seed, lookahead=1, **SETTINGS[name])
        plain, ahead = draw(shapes_pipe, options), draw(shapes_pipe, replace(options, lookahead=window))
        assert torch.equal(ahead.tokens, plain.tokens)
        plain_passes += plain.passes
        ahead_passes += ahead.passes
    assert plain_passes / ahead_passes >= least
