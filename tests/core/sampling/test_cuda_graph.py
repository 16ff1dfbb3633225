"""Captured decode steps draw the same tokens as plain ones.

Without a GPU, a tape stands in for a CUDA graph: it records each operation with the tensors that it works
on, repeats them when it is replayed, and refuses what no graph can hold: a number that the CPU waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, TokenSampling
from janus_nodes.janus_core.models.cache import KVCache
from janus_nodes.janus_core.models.janus import Janus
from janus_nodes.janus_core.sampling import cuda_graph, decoding
from janus_nodes.janus_core.sampling.cuda_graph import CapturedStep, Step
from support.parametrize import slow_except
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

pytestmark = pytest.mark.usefixtures("no_grad")

PROMPTS = ("A small harbour beside a lighthouse, under a blue night sky.", "A fox.")
OPTIONS = (
    TokenSampling(temperature=0.0),
    TokenSampling(temperature=0.0, guidance_scale=1.0, batch_size=2),
    TokenSampling(batch_size=3, top_p=0.9, seed=4),
)


class Tape(TorchDispatchMode):
    """Records operations and their results in order."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "a graph cannot wait for a number"
        found = func(*args, **(kwargs or {}))
        self.noted.append((func, args, kwargs or {}, found))
        return found

    def replay(self) -> None:
        for func, args, kwargs, found in self.noted:
            again = func(*args, **kwargs)
            for target, source in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(target, Tensor):
                    target.copy_(source)


def taped(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A `Capture`, as `cuda_graph` is."""
    work()
    tape = Tape()
    with tape:
        work()
    return tape.replay


@pytest.fixture
def records(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Captures steps on a tape for a number of slots; returns the cache's length at each capture."""
    at: list[int] = []

    class Noted(CapturedStep):
        def _prepare(self, step: Step, tokens: Tensor, position_ids: Tensor) -> None:
            at.append(self._cache.length)
            super()._prepare(step, tokens, position_ids)

    monkeypatch.setattr(cuda_graph, "_SLOTS_PER_GRAPH", request.param)
    monkeypatch.setattr(decoding, "CapturedStep", partial(Noted, capture=taped))
    return at


@pytest.fixture
def dirty_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fills new caches with NaN, as uninitialised memory may be."""
    allocate = KVCache.__init__

    def spoilt(self: KVCache, *args: Any, **kwargs: Any) -> None:
        allocate(self, *args, **kwargs)
        self.keys.fill_(torch.nan)
        self.values.fill_(torch.nan)

    monkeypatch.setattr(KVCache, "__init__", spoilt)


@pytest.mark.usefixtures("dirty_memory")
@pytest.mark.parametrize(
    ("records", "prompt", "options"),
    slow_except(
        product((1, 4, 256), PROMPTS, OPTIONS),
        (1, PROMPTS[1], OPTIONS[2]),
        (4, PROMPTS[0], OPTIONS[0]),
        (256, PROMPTS[0], OPTIONS[1]),
    ),
    indirect=["records"],
)
def test_captured_steps_draw_the_same_tokens(
    pipe: JanusPipeline, records: list[int], prompt: str, options: TokenSampling
) -> None:
    draw = partial(pipe.generate, prompt, negative_prompt="a very long dark night, far away", pixels=False)
    expected = draw(options).tokens
    assert not records
    drawn = draw(replace(options, capture=True)).tokens
    assert drawn.tolist() == expected.tolist()
    assert len(records) == len({length // cuda_graph._SLOTS_PER_GRAPH for length in records}) > 0


@pytest.mark.parametrize("records", slow_except((1, 4, 256), 4), indirect=True)
def test_captured_steps_alternate_with_passes_over_several_tokens(
    pipe: JanusPipeline, records: list[int]
) -> None:
    image, mask = torch.rand(1, *2 * (pipe.image_processor.image_size,), 3), torch.zeros(4, 4)
    mask[0, 1:3] = mask[2, 0] = mask[3, 3] = 1
    mask = mask.repeat_interleave(image.shape[1] // 4, 0).repeat_interleave(image.shape[1] // 4, 1)
    options = EditSampling(candidates=2)
    expected = pipe.edit(image, "A fox.", options, mask=mask).tokens
    assert pipe.edit(image, "A fox.", replace(options, capture=True), mask=mask).tokens.equal(expected)
    assert records


def test_a_model_on_the_cpu_is_refused(pipe: JanusPipeline) -> None:
    with pytest.raises(ValueError, match="capture must be False for a model on cpu, got True"):
        pipe.generate(PROMPTS[0], TokenSampling(capture=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cuda_graph_draws_the_same_tokens(pipe: JanusPipeline, dtype: torch.dtype) -> None:
    model: Janus = pipe.model.to("cuda", dtype)
    on_gpu = replace(pipe, model=model, device=torch.device("cuda"))
    for options in (TokenSampling(temperature=0.0, batch_size=2), TokenSampling(seed=3)):
        expected = on_gpu.generate(PROMPTS[0], options).tokens
        assert on_gpu.generate(PROMPTS[0], replace(options, capture=True)).tokens.equal(expected)
