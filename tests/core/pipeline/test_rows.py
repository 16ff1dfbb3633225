"""Rows are computed at once as memory allows, with the same results."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    EditSampling,
    FlowSampling,
    JanusPipeline,
    Room,
    TextSampling,
    TokenSampling,
    load_pipeline,
)
from janus_nodes.janus_core.pipeline.edit_runs import EditRun
from janus_nodes.janus_core.pipeline.rows import Chunk, RowGroup, chunks_of, in_groups
from support.cuda_tensor import CUDA, MEMORY
from support.drawing import traced
from support.parametrize import slow_except
from support.reserving import Reserved
from support.simulated_cuda import on_cpu, simulated_cuda
from torch import Tensor

IMAGES = torch.rand(5, 40, 64, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(40, 64)
MASK[5:20, 10:30] = 1
VARIED = TextSampling(5, 0.9, top_p=0.9, seed=3)
FIVE = TokenSampling(seed=1, batch_size=5)

# Tokens, texts or numbers that have to be the same in batches of any size.
CALLS: dict[str, Callable[[JanusPipeline], Any]] = {
    "answer": lambda pipe: [str(answer) for answer in pipe.understand(IMAGES, "What?", VARIED)],
    "questions": lambda pipe: [
        str(answer) for answer in pipe.understand(None, ["What?", "Who?"] * 4, VARIED)
    ],
    "score": lambda pipe: pipe.score(IMAGES, "A fox."),
    "features": lambda pipe: pipe.encode_vision(IMAGES).last_hidden_state,
    "generate": lambda pipe: pipe.generate("A fox.", FIVE).tokens,
    "generate of prompts": lambda pipe: pipe.generate(["A fox.", "A cat in the snow."] * 2).tokens,
    "edit": lambda pipe: pipe.edit(IMAGES[:3], "Now.", EditSampling(batch_size=2), form="janus-4o").tokens,
    "inpaint": lambda pipe: pipe.edit(IMAGES[0], "A fox.", EditSampling(batch_size=2), mask=MASK).tokens,
    "think": lambda pipe: pipe.think_and_draw("A fox.", "t2i-r1", FIVE, VARIED).tokens,
    "review": lambda pipe: pipe.think_and_draw("A fox.", "janus-pro-r1", FIVE, VARIED, 1).tokens,
    "flow": lambda pipe: pipe.generate("A fox.", FlowSampling(num_steps=2, batch_size=5)).latents,
}
FAST = ("answer", "generate", "edit")


class NetworkMemory:
    """Memory while the transformer or the vision tower computes; autoencoders outweigh them in small models.

    Attributes:
        peak: the most bytes beside the weights.
        limit: of these.
    """

    def __init__(self, pipe: JanusPipeline) -> None:
        self.peak, self._weights = 0, MEMORY.live
        self.limit: float = math.inf
        for module in (pipe.model.body, pipe.model.understanding):
            module.register_forward_pre_hook(self._begin)
            module.register_forward_hook(self._end, always_call=True)  # also after an error

    def _begin(self, *call: object) -> None:
        MEMORY.limit, MEMORY.peak = self._weights + self.limit, MEMORY.live

    def _end(self, *call: object) -> None:
        MEMORY.limit, self.peak = math.inf, max(self.peak, MEMORY.peak - self._weights)


@pytest.mark.parametrize("name", slow_except(CALLS, *FAST))
def test_a_call_that_runs_out_of_memory_goes_on_in_smaller_batches(
    pipe: JanusPipeline, flow_pipe: JanusPipeline, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    own, call = (flow_pipe if name == "flow" else pipe), CALLS[name]
    with torch.inference_mode(), simulated_cuda():
        on_device = replace(own, model=deepcopy(own.model).to("cuda"), device=CUDA)
        memory = NetworkMemory(on_device)
        expected = on_cpu(call(on_device))
        memory.limit = int(0.8 * memory.peak)
        with caplog.at_level(logging.WARNING):
            found = on_cpu(call(on_device))
    assert "out of memory on cuda:0 with" in caplog.text
    if isinstance(expected, Tensor):
        exact = not expected.is_floating_point()
        torch.testing.assert_close(found, expected, rtol=0, atol=0 if exact else 1e-4)
    else:
        assert found == expected


def test_an_image_for_which_there_is_no_memory_is_an_error(pipe: JanusPipeline) -> None:
    reserved = Reserved()
    with torch.inference_mode(), simulated_cuda():
        on_device = replace(
            pipe, model=deepcopy(pipe.model).to("cuda"), device=CUDA, reserve=reserved.reserve
        )
        MEMORY.limit = MEMORY.live + 2**14
        message = (
            r"memory of cuda:0 must hold about 0.00 GiB beside the model for one image or answer at a time, "
            "got less; close other programs that use it, load the model in int8 or int4, or use a "
            "shorter prompt"
        )
        with pytest.raises(torch.OutOfMemoryError, match=message):
            on_device.generate("A fox.", TokenSampling(batch_size=2))
    # For both images, for one, and for one with more memory.
    assert reserved == [reserved[0], reserved[0], 2 * reserved[0]]


def needs(pipe: JanusPipeline, count: int) -> int:
    """Memory to draw images together."""
    reserved = Reserved()
    replace(pipe, reserve=reserved.reserve).generate("A fox.", TokenSampling(batch_size=count), pixels=False)
    return reserved[0]


def test_more_rows_are_computed_at_once_on_a_cuda_device(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("janus_nodes.janus_core.pipeline.rows.free_bytes", lambda device: 2**34)
    with torch.inference_mode(), simulated_cuda():
        on_device = load_pipeline(pipe.folder, device="cuda", dtype=torch.float32)
    assert (pipe.max_batch_size, on_device.max_batch_size) == (8, 32)


@pytest.mark.parametrize("rows", [2, 4, 8])
@pytest.mark.parametrize("beside_weights", [True, False])
def test_as_many_rows_are_computed_at_once_as_there_is_room_for(
    pipe: JanusPipeline, rows: int, beside_weights: bool
) -> None:
    room = needs(pipe, rows)
    reserved = Reserved()
    small = replace(
        pipe, reserve=reserved.reserve, room=lambda device, parts: Room(room if beside_weights else 0, room)
    )
    options = TokenSampling(batch_size=8, seed=4)
    with traced(pipe.model) as trace:
        drawn = small.generate("A fox.", options, pixels=False).tokens
    assert max(trace.rows) == 2 * rows  # with guidance
    assert reserved == [room]
    assert torch.equal(drawn, pipe.generate("A fox.", options, pixels=False).tokens)


def test_weights_stay_where_a_row_fits_beside_them(pipe: JanusPipeline) -> None:
    beside = needs(pipe, 2)
    small = replace(pipe, room=lambda device, parts: Room(beside, 100 * beside))
    with traced(pipe.model) as trace:
        small.generate("A fox.", TokenSampling(batch_size=8), pixels=False)
    assert max(trace.rows) == 4


class Runs:
    """Computes parts of at most some rows, and keeps a record."""

    def __init__(self, most: float, error: str = "MPS backend out of memory") -> None:
        self.most, self.error = most, error
        self.calls: list[tuple[list[int], int, int]] = []

    def __call__(self, part: RowGroup, number: int, count: int) -> list[int]:
        """The rows of a part."""
        self.calls.append((list(part.rows), number, count))
        if len(part.rows) > self.most:
            raise RuntimeError(self.error)
        return list(part.rows)


def test_only_what_did_not_fit_is_computed_again(pipe: JanusPipeline) -> None:
    reserved = Reserved()
    own = replace(pipe, reserve=reserved.reserve, reserved=7, max_batch_size=3)
    parts, runs = chunks_of(own, 8), Runs(math.inf)
    results = in_groups(own, parts, runs)
    assert next(results) == [0, 1, 2]
    runs.most = 1
    assert list(results) == [[3], [4], [5], [6], [7]]
    assert [call for call in runs.calls if 0 in call[0]] == [([0, 1, 2], 0, 3)]
    assert runs.calls[1:4] == [([3, 4, 5], 1, 3), ([3], 1, 5), ([4, 5], 2, 5)]
    assert reserved == [7, 7]


def test_other_errors_pass_unchanged(pipe: JanusPipeline) -> None:
    runs = Runs(0, "a cable is loose")
    with pytest.raises(RuntimeError, match=r"^a cable is loose$"):
        list(in_groups(pipe, chunks_of(pipe, 2), runs))
    assert len(runs.calls) == 1


@pytest.mark.parametrize(
    ("part", "halves"),
    [
        (Chunk(range(3, 8)), [Chunk(range(3, 5)), Chunk(range(5, 8))]),
        (Chunk(range(4, 5)), [Chunk(range(4, 5))]),
        (EditRun([0, 2, 3], [0, 1, 4, 5, 6, 7]), [EditRun([0], [0, 1]), EditRun([2, 3], [4, 5, 6, 7])]),
        (EditRun([2], [4, 5, 6], (1,)), [EditRun([2], [4], (1,)), EditRun([2], [5, 6], (1,))]),
        (EditRun([2], [4]), [EditRun([2], [4])]),
    ],
)
def test_parts_are_halved(part: Any, halves: list[Any]) -> None:
    assert part.halves() == halves
