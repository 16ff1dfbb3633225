"""Nodes on a simulated CUDA device that holds a model whole, in part, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes import nodes
from janus_nodes.janus_core import Precision, TextSampling, TokenSampling, load_pipeline
from janus_nodes.nodes import memory
from janus_nodes.nodes.memory import LoadedJanus
from support.cuda_tensor import CUDA, Counts, CudaTensor
from support.node_runs import run
from support.patchers import WHOLE, detach, device_patchers, load_share, movable_size
from support.simulated_cuda import simulated_cuda

BF16, INT8 = Precision(torch.bfloat16), Precision(torch.float16, quantized="int8")
INT4 = Precision(torch.bfloat16, quantized="int4")
IMAGES = torch.rand(2, 40, 64, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 40, 64)
MASK[:, 5:20, 10:30] = 1
SHORT: dict[str, Any] = {"max_new_tokens": 4}

Call = Callable[[LoadedJanus], Any]

CALLS: dict[str, Call] = {
    "generate": lambda model: run(
        nodes.JanusGenerate, model=model, prompt="A fox.", negative_prompt="a very long dark night"
    ),
    "understand": lambda model: run(
        nodes.JanusUnderstand, model=model, image=IMAGES, question="What?", **SHORT
    ),
    "inpaint": lambda model: run(
        nodes.JanusEdit, model=model, image=IMAGES[:1], mask=MASK, instruction="A fox."
    ),
    "encode and decode": lambda model: run(
        nodes.JanusVQDecode, model=model, tokens=run(nodes.JanusVQEncode, model=model, image=IMAGES)[0]
    ),
    "features": lambda model: run(nodes.JanusSiglipEncode, model=model, image=IMAGES),
    "score": lambda model: run(nodes.JanusScore, model=model, image=IMAGES, description="A fox."),
    "think": lambda model: run(nodes.JanusThinkAndDraw, model=model, prompt="A fox.", **SHORT),
}


@pytest.fixture
def device(sent: object) -> Iterator[Counts]:
    """The simulated device, and a server that nodes can report to."""
    with torch.inference_mode(), simulated_cuda() as counts:
        yield counts


def held(folder: Path, precision: Precision, share: float) -> LoadedJanus:
    """A checkpoint of whose weights the device holds a share, by ComfyUI's own patcher."""
    loaded = memory.load(folder, precision, None)
    loaded.pipeline.device = CUDA
    loaded.pipeline.reserve = lambda num_bytes, parts: None
    loaded.pipeline.room = lambda device, parts: None
    for patcher in device_patchers(loaded):
        patcher.load_device = CUDA
    load_share(loaded, CUDA, share)
    return loaded


def bytes_on_device(loaded: LoadedJanus) -> int:
    return sum(
        weight.nbytes for weight in loaded.pipeline.model.parameters() if isinstance(weight, CudaTensor)
    )


@pytest.mark.parametrize(("precision", "share"), [(BF16, 0.4), (INT8, 0.0), (INT4, 0.4)], ids=str)
def test_nodes_work_wherever_the_weights_are(
    device: Counts, checkpoint: Path, precision: Precision, share: float
) -> None:
    loaded = held(checkpoint, precision, share)
    for name, call in CALLS.items():
        for value in call(loaded):
            assert not isinstance(value, CudaTensor), name
    detach(loaded)
    assert bytes_on_device(loaded) == 0
    load_share(loaded, CUDA, WHOLE)
    assert bytes_on_device(loaded) == movable_size(loaded)
    CALLS["generate"](loaded)


def test_flow_works_wherever_the_weights_are(device: Counts, golden_root: Path) -> None:
    loaded = held(golden_root / "janusflow-tiny", BF16, 0.4)
    for value in run(nodes.JanusFlowSampler, model=loaded, prompt="A fox.", steps=2):
        assert not isinstance(value, CudaTensor)


def steps(device: Counts, loaded: LoadedJanus) -> dict[str, tuple[float, float]]:
    """Bytes copied to the device, and waits of the host, per drawn and per written token."""
    marks: list[tuple[int, int]] = []

    def on_step(step: int, total: int, state: object) -> None:
        marks.append((device.bytes_to_device, device.num_waits))

    found = {}
    for name, call in {
        "draw": lambda: loaded.pipeline.generate("A fox.", TokenSampling(temperature=0.0), on_step=on_step),
        "write": lambda: loaded.pipeline.understand(None, "abc", TextSampling(12), on_step=on_step),
    }.items():
        marks.clear()
        call()
        copied, waits = (marks[-1][index] - marks[1][index] for index in (0, 1))
        found[name] = (copied / (len(marks) - 2), waits / (len(marks) - 2))
    return found


@pytest.mark.parametrize("precision", [INT8, INT4], ids=str)
def test_a_partly_loaded_quantized_model_waits_no_more_than_a_whole_one(
    device: Counts, checkpoint: Path, precision: Precision
) -> None:
    whole, part = (steps(device, held(checkpoint, precision, share)) for share in (1.0, 0.4))
    assert part["draw"][1] == whole["draw"][1] == 0
    assert part["write"][1] <= whole["write"][1] + 1  # for the ids that are looked up in main memory


@pytest.mark.parametrize("precision", [INT8, INT4], ids=str)
def test_a_weight_is_copied_as_it_is_stored(device: Counts, checkpoint: Path, precision: Precision) -> None:
    loaded = held(checkpoint, precision, 0.0)
    model = loaded.pipeline.model
    parts = (model.body.layers, model.body.norm, model.generation.head, model.generation.aligner)
    stored = sum(parameter.nbytes for part in parts for parameter in part.parameters())
    assert stored <= steps(device, loaded)["draw"][0] <= 1.05 * stored  # noise and ids beside them


def test_tokens_are_looked_up_in_main_memory(device: Counts, checkpoint: Path) -> None:
    loaded = held(checkpoint, BF16, WHOLE)
    embedding = loaded.pipeline.model.body.embed_tokens
    table = embedding.weight
    assert not isinstance(table, CudaTensor)
    found = steps(device, loaded)["write"][0]
    embedding.comfy_cast_weights = True  # as in ComfyUI's own layer, small tables are copied
    assert steps(device, loaded)["write"][0] - found == pytest.approx(table.nbytes - table[0].nbytes)
    embedding.comfy_cast_weights = False
    expected = load_pipeline(checkpoint, dtype=torch.bfloat16).understand(None, "abc", TextSampling(12))
    assert loaded.pipeline.understand(None, "abc", TextSampling(12)) == expected
