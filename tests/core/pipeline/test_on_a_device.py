"""Everything that a pipeline does on a simulated CUDA device, where mixed devices or dtypes are errors."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    EditSampling,
    FlowSampling,
    JanusPipeline,
    Precision,
    TextSampling,
    TokenSampling,
    best_of,
    load_pipeline,
    route,
)
from support.checkpoints import GOLDEN
from support.parametrize import slow_except
from support.simulated_cuda import CUDA, CudaTensor, on_cpu, simulated_cuda
from torch import Tensor

PRECISIONS = {  # those that nodes choose on devices with and without fast bf16
    "bf16": Precision(torch.bfloat16),
    "int8 in fp16": Precision(torch.float16, quantized="int8"),
    "int4": Precision(torch.bfloat16, quantized="int4"),
}
SHORT = TextSampling(max_new_tokens=5)
VARIED = TextSampling(5, 0.9, top_k=50, top_p=0.9, min_p=0.01, repetition_penalty=1.2, seed=3)
IMAGES = torch.rand(3, 40, 64, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(40, 64)
MASK[5:20, 10:30] = 1
QUESTIONS = ["What?", "Which colour is it, and why?", "Who?"]

Call = Callable[[JanusPipeline], Any]


def conversation(pipe: JanusPipeline) -> Any:
    first = pipe.chat("What is this?", IMAGES[:1], options=SHORT)
    second = pipe.chat("And this?", IMAGES[1:2], first, options=SHORT)
    return [turn.answer for turn in pipe.chat("Why?", None, second, options=SHORT).turns]


CALLS: dict[str, Call] = {
    "answer": lambda pipe: pipe.understand(IMAGES, QUESTIONS, SHORT),
    "answer with sampling": lambda pipe: pipe.understand(IMAGES, "What?", VARIED),
    "answers about one image": lambda pipe: pipe.understand(IMAGES[:1], QUESTIONS, SHORT),
    "answers about features": lambda pipe: pipe.understand(pipe.encode_vision(IMAGES), "What?", SHORT),
    "conversation": conversation,
    "score": lambda pipe: pipe.score(IMAGES, "A fox."),
    "choose": lambda pipe: pipe.choose(IMAGES, "Which?", ["red and blue", "green"]),
}
TOKEN_CALLS: dict[str, Call] = {
    "generate": lambda pipe: pipe.generate("A red fox.", TokenSampling(seed=1, batch_size=2)),
    "generate nine": lambda pipe: pipe.generate("A red fox.", TokenSampling(temperature=0.0, batch_size=9)),
    "generate with a negative prompt": lambda pipe: pipe.generate(
        "A red fox.", TokenSampling(seed=1, top_p=0.9, top_k=40), negative_prompt="a very long dark night"
    ),
    "inpaint": lambda pipe: pipe.edit(IMAGES[0], "A fox.", EditSampling(seed=2, batch_size=2), mask=MASK),
    "edit as Janus-4o": lambda pipe: pipe.edit(IMAGES[0], "Now.", EditSampling(seed=2), form="janus-4o"),
    "edit as R1": lambda pipe: pipe.edit(IMAGES[0], "Now.", EditSampling(seed=2), form="janus-pro-r1"),
    "encode and decode": lambda pipe: pipe.decode_tokens(pipe.encode_tokens(IMAGES)),
    "best of": lambda pipe: best_of(pipe, "A fox.", TokenSampling(batch_size=3), keep=2),
    "route": lambda pipe: route(pipe, "Draw a fox."),
    "think": lambda pipe: pipe.think_and_draw("A fox.", thinking=SHORT),
}
FLOW_CALLS: dict[str, Call] = {
    "flow": lambda pipe: pipe.generate("A fox.", FlowSampling(num_steps=2, batch_size=2, solver="heun")),
    "flow with a negative prompt": lambda pipe: pipe.generate(
        "A fox.", FlowSampling(num_steps=2), negative_prompt="a very long dark night"
    ),
    "flow from latents": lambda pipe: pipe.generate(
        "A fox.", FlowSampling(num_steps=2, denoise=0.5), latents=torch.zeros(1, 4, 8, 8)
    ),
    "answer of a flow model": lambda pipe: pipe.understand(IMAGES, "What?", SHORT),
}


def on_device(pipe: JanusPipeline) -> JanusPipeline:
    """A copy of a pipeline on the simulated device."""
    return replace(pipe, model=deepcopy(pipe.model).to("cuda"), device=CUDA)


def values(result: Any) -> Any:
    """The tensors, texts and numbers of a result."""
    if is_dataclass(result) and not isinstance(result, type):
        return {field.name: values(getattr(result, field.name)) for field in fields(result)}
    if isinstance(result, list | tuple):
        return [values(part) for part in result]
    return on_cpu(result)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, Tensor):
        assert not isinstance(found, CudaTensor)
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-2)
    elif isinstance(expected, dict):
        for name in expected.keys() - {"saved", "start"}:
            assert_same(found[name], expected[name])
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert (
            found == pytest.approx(expected, abs=1e-2) if isinstance(expected, float) else found == expected
        )


@pytest.fixture(scope="module", params=slow_except(PRECISIONS, "bf16"))
def pipelines(request: pytest.FixtureRequest) -> dict[str, JanusPipeline]:
    """The tiny checkpoints in one precision, on the CPU."""
    return {
        name: load_pipeline(GOLDEN / name, dtype=PRECISIONS[request.param])
        for name in ("janus-pro-tiny", "janusflow-tiny")
    }


@pytest.mark.parametrize("name", [*CALLS, *TOKEN_CALLS, *FLOW_CALLS])
def test_a_call_gives_the_same_on_a_device(pipelines: dict[str, JanusPipeline], name: str) -> None:
    pipe = pipelines["janusflow-tiny" if name in FLOW_CALLS else "janus-pro-tiny"]
    call = (CALLS | TOKEN_CALLS | FLOW_CALLS)[name]
    with torch.inference_mode(), simulated_cuda():
        found = values(call(on_device(pipe)))
    # CPUs have an int8 kernel of their own, which rounds otherwise.
    if not any(type(layer).__name__ == "Int8Linear" for layer in pipe.model.modules()):
        assert_same(found, values(call(pipe)))
