"""Memory is reserved once per run, before anything is computed, and hardly more than the run takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import pytest
import torch
from janus_nodes.janus_core import (
    EditSampling,
    FlowSampling,
    JanusPipeline,
    Parts,
    TextSampling,
    TokenSampling,
    VisionFeatures,
)
from janus_nodes.janus_core.pipeline import workspace
from janus_nodes.janus_core.sampling.steps import OnStep
from support.drawing import counted_images, traced
from support.estimates import EnoughError, Run, check_estimate
from support.parametrize import slow_except
from support.reserving import Reserved, used_parts
from support.sizes import released_config, shrunk_config, sized_pipeline
from torch import Tensor

IMAGES = torch.full((2, 20, 30, 3), 0.5)
MASK = torch.ones(20, 30)
SHORT = TextSampling(max_new_tokens=2)


def features(pipe: JanusPipeline) -> VisionFeatures:
    """Those of an image, without the encoder."""
    shape, width = pipe.embeds_shape, pipe.model.config.understanding.vision.hidden_size
    return VisionFeatures(torch.zeros(1, *shape), torch.zeros(1, shape[0], width))


RUNS: dict[str, Run] = {
    "understand": lambda pipe: pipe.understand(IMAGES, "What?", SHORT),
    "converse": lambda pipe: pipe.converse(IMAGES, "What?", SHORT),
    "chat": lambda pipe: pipe.chat("What?", IMAGES[:1], options=SHORT),
    "score": lambda pipe: pipe.score(IMAGES, "A cat."),
    "choose": lambda pipe: pipe.choose(IMAGES, "What?", ["A cat", "A dog"]),
    "generate": lambda pipe: pipe.generate("A cat.", TokenSampling(batch_size=2)),
    "edit": lambda pipe: pipe.edit(IMAGES[0], "Make it night.", form="janus-4o"),
    "inpaint": lambda pipe: pipe.edit(IMAGES[0], "Night.", EditSampling(), mask=MASK),
    "edit two": lambda pipe: pipe.edit(IMAGES, "Make it night.", form="janus-4o"),
    "inpaint two": lambda pipe: pipe.edit(IMAGES, "Night.", EditSampling(), mask=MASK),
    "edit as R1": lambda pipe: pipe.edit(IMAGES[0], "Make it night.", form="janus-pro-r1"),
    "encode_vision": lambda pipe: pipe.encode_vision(IMAGES),
    "understand features": lambda pipe: pipe.understand(features(pipe), "What?", SHORT),
    "text": lambda pipe: pipe.understand(None, "What?", SHORT),
    "think": lambda pipe: pipe.think_and_draw("A cat.", "t2i-r1", thinking=SHORT),
    "draw a thought": lambda pipe: pipe.think_and_draw("A cat.", "t2i-r1", thoughts="A cat."),
    "review": lambda pipe: pipe.think_and_draw("A cat.", "janus-pro-r1", thinking=SHORT),
    "encode_tokens": lambda pipe: pipe.encode_tokens(IMAGES),
    "decode_tokens": lambda pipe: pipe.decode_tokens(torch.zeros(2, 16, dtype=torch.long)),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reserves_memory_once_before_it_computes(pipe: JanusPipeline, name: str) -> None:
    with traced(pipe.model) as trace, counted_images(pipe) as seen, used_parts(pipe.model) as used:
        reserved = Reserved()

        def reserve(num_bytes: int, parts: Parts) -> None:
            assert trace.rows == seen == []
            reserved.reserve(num_bytes, parts)

        RUNS[name](replace(pipe, reserve=reserve))
    assert len(reserved) == 1
    assert reserved[0] > 0
    assert set(reserved.parts[0]) == used


def test_previews_within_a_run_reserve_nothing(pipe: JanusPipeline) -> None:
    reserved = Reserved()
    own = replace(pipe, reserve=reserved.reserve)

    def preview(step: int, total: int, tokens: Tensor) -> None:
        own.preview(tokens[:, : tokens.shape[1] // 4 * 4] if step >= 4 else tokens.new_zeros(1, 4))

    own.generate("A cat.", on_step=preview)
    assert len(reserved) == 1


def stop_drawing(pipe: JanusPipeline) -> OnStep:
    """Ends a run after a few steps with a preview of a whole image, as a host may show one near the end."""

    def on_step(step: int, total: int, state: Tensor) -> None:
        if step >= 3:
            pipe.preview(torch.zeros(1, pipe.tokens_per_row**2, dtype=torch.long))
            raise EnoughError

    return on_step


def stop_answering(step: int, total: int, tokens: Tensor) -> None:
    """Ends a run whose cache could hold a longer answer."""
    if step == 3:
        raise EnoughError


PROMPT = "A red fox in the snow. " * 3
QUESTIONS = [f"What does the {animal} do?" for animal in ("cat", "dog", "fox", "cow")]
SAMPLED = TextSampling(4, temperature=0.7, top_k=50, top_p=0.9, min_p=0.1, repetition_penalty=1.1)
PICTURE = torch.full((1, 40, 40, 3), 0.5)
LARGE_PICTURE, LARGE_HOLE = torch.full((1, 500, 500, 3), 0.5), torch.zeros(500, 500)
LARGE_HOLE[480:, 480:] = 1
CUT_OUTS, WHOLE = torch.full((4, 500, 500, 4), 0.5), torch.ones(500, 500)
HOLE = torch.zeros(40, 40)
HOLE[16:20, :6] = 1


def draw(count: int, guidance: float = 5.0) -> Run:
    options = TokenSampling(batch_size=count, guidance_scale=guidance)
    return lambda pipe: pipe.generate(PROMPT, options, on_step=stop_drawing(pipe))


def edit(count: int, form: str, num_images: int = 1) -> Run:
    images, options = PICTURE.expand(num_images, -1, -1, -1), EditSampling(batch_size=count)
    return lambda pipe: pipe.edit(images, PROMPT, options, form=form, on_step=stop_drawing(pipe))


# What every model does.
COUNTED: dict[str, Run] = {
    "one image": lambda pipe: pipe.understand(PICTURE, PROMPT, SHORT),
    "8 images": lambda pipe: pipe.understand(PICTURE.expand(8, -1, -1, -1), PROMPT, SHORT),
    "20 images": lambda pipe: pipe.understand(PICTURE.expand(20, -1, -1, -1), PROMPT, SHORT),
    "3 images in a question": lambda pipe: pipe.understand([PICTURE] * 3, PROMPT, SHORT),
    "several questions": lambda pipe: pipe.understand(PICTURE, QUESTIONS, SHORT),
    "long answers": lambda pipe: pipe.understand(PICTURE, PROMPT, on_step=stop_answering),
    "text": lambda pipe: pipe.understand(None, PROMPT, SAMPLED),
    "converse": lambda pipe: pipe.converse(PICTURE, PROMPT, SHORT),
    "score": lambda pipe: pipe.score(PICTURE.expand(8, -1, -1, -1), PROMPT),
    "choose": lambda pipe: pipe.choose(PICTURE.expand(2, -1, -1, -1), "What?", ["A cat " * 10, "A dog"]),
    "encode_vision 1": lambda pipe: pipe.encode_vision(PICTURE),
    "encode_vision 8": lambda pipe: pipe.encode_vision(PICTURE.expand(8, -1, -1, -1)),
    "encode_vision 20": lambda pipe: pipe.encode_vision(PICTURE.expand(20, -1, -1, -1)),
}
TOKENS: dict[str, Run] = {
    "generate 1": draw(1),
    "generate 8": draw(8),
    "generate 1 unguided": draw(1, guidance=1.0),
    "generate 8 unguided": draw(8, guidance=1.0),
    "janus-4o 1": edit(1, "janus-4o"),
    "janus-4o 8": edit(8, "janus-4o"),
    "janus-pro-r1": edit(1, "janus-pro-r1"),
    "inpaint": lambda pipe: pipe.edit(PICTURE, PROMPT, EditSampling(), mask=HOLE),
    "janus-4o 3 images": edit(1, "janus-4o", 3),
    "janus-pro-r1 2 of 6 images": edit(2, "janus-pro-r1", 6),
    "inpaint 3 images": lambda pipe: pipe.edit(
        PICTURE.expand(3, -1, -1, -1), PROMPT, EditSampling(candidates=2), mask=HOLE
    ),
    "inpaint 4 large images with alpha": lambda pipe: pipe.edit(
        CUT_OUTS, PROMPT, EditSampling(candidates=1), mask=LARGE_HOLE
    ),
    "inpaint a large image with alpha entirely": lambda pipe: pipe.edit(
        CUT_OUTS[:1], PROMPT, EditSampling(candidates=1), mask=WHOLE
    ),
    "inpaint a large image entirely": lambda pipe: pipe.edit(
        LARGE_PICTURE, PROMPT, EditSampling(candidates=1), mask=WHOLE
    ),
    "inpaint a large image": lambda pipe: pipe.edit(
        LARGE_PICTURE, PROMPT, EditSampling(candidates=1), mask=LARGE_HOLE
    ),
    "encode_tokens": lambda pipe: pipe.encode_tokens(PICTURE.expand(2, -1, -1, -1)),
    "decode_tokens": lambda pipe: pipe.decode_tokens(
        torch.zeros(2, pipe.tokens_per_row**2, dtype=torch.long)
    ),
}
FLOW: dict[str, Run] = {
    "flow 1": lambda pipe: pipe.generate(PROMPT, FlowSampling(num_steps=1)),
    "flow 8": lambda pipe: pipe.generate(PROMPT, FlowSampling(num_steps=1, batch_size=8)),
    "heun": lambda pipe: pipe.generate(PROMPT, FlowSampling(2, solver="heun", guidance_scale=1.0)),
    "encode_latents": lambda pipe: pipe.encode_latents(PICTURE.expand(2, -1, -1, -1)),
}


@pytest.fixture(scope="module")
def sized() -> Callable[..., JanusPipeline]:
    """`sized_pipeline`, made once."""
    return lru_cache(sized_pipeline)


@pytest.mark.parametrize(
    "name",
    slow_except(
        [*COUNTED, *TOKENS],
        "3 images in a question",
        "long answers",
        "text",
        "choose",
        "encode_vision 1",
        "generate 1",
        "janus-4o 1",
        "inpaint",
        "encode_tokens",
    ),
)
def test_a_real_run_takes_what_was_reserved(sized: Callable[..., JanusPipeline], name: str) -> None:
    check_estimate(sized(shrunk_config("Janus-Pro-1B"), "cpu"), (COUNTED | TOKENS)[name], 1.5)


@pytest.mark.parametrize("name", slow_except(FLOW, "flow 1"))
def test_a_real_run_by_flow_takes_what_was_reserved(sized: Callable[..., JanusPipeline], name: str) -> None:
    check_estimate(sized(shrunk_config("JanusFlow-1.3B"), "cpu"), FLOW[name], 1.5)


@pytest.mark.parametrize(
    "name",
    slow_except(["8 images", "3 images in a question", "score", "encode_vision 8"], "3 images in a question"),
)
def test_attention_without_a_fused_kernel_is_counted(
    sized: Callable[..., JanusPipeline], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(workspace, "score_bytes", partial(without_fused_kernels, workspace.score_bytes))
    pipe = sized(shrunk_config("Janus-Pro-1B"), "meta", torch.bfloat16)
    check_estimate(pipe, COUNTED[name], 1.5, fused=False)


def without_fused_kernels(score_bytes: Callable[..., int], device: torch.device, *sizes: int) -> int:
    return score_bytes(torch.device("mps"), *sizes)


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [None, "int8", "int4"])
@pytest.mark.parametrize("checkpoint", ["Janus-Pro-1B", "Janus-Pro-7B", "JanusFlow-1.3B"])
def test_a_run_of_released_size_takes_what_was_reserved(checkpoint: str, quantized: str | None) -> None:
    pipe = sized_pipeline(released_config(checkpoint), "meta", torch.bfloat16, quantized)
    # All tokens of an image, one after the other, take minutes even without numbers.
    tokens = {name: run for name, run in TOKENS.items() if not name.endswith("entirely")}
    for run in (COUNTED | (FLOW if "Flow" in checkpoint else tokens)).values():
        check_estimate(pipe, run, 1.3)


def test_refused_tokens_reserve_nothing(pipe: JanusPipeline, flow_pipe: JanusPipeline) -> None:
    reserved = Reserved()
    for model, tokens in (
        (pipe, torch.tensor(3)),
        (pipe, torch.full((1, 16), -1)),
        (flow_pipe, torch.ones(1, 16)),
    ):
        with pytest.raises(ValueError, match=r"tokens must be|model must generate"):
            replace(model, reserve=reserved.reserve).decode_tokens(tokens)
    assert reserved == []
    with pytest.raises(ValueError, match="model must generate images with TokenSampling"):
        _ = flow_pipe.tokens_per_row
