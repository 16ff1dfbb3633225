"""Janus beside other models under ComfyUI's memory management.

`cpu:0` stands in for a GPU: ComfyUI takes it for another device than `cpu`, so it counts, evicts and loads,
and PyTorch computes on it. What is free there is what this file says.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import comfy.model_management as mm
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from janus_nodes.janus_core import JanusPipeline, Part, TextSampling, TokenSampling
from janus_nodes.nodes import memory
from janus_nodes.nodes.memory import LoadedJanus
from support.drawing import traced
from support.patchers import loaded_size, movable_size
from support.reserving import Reserved

GPU, CPU = torch.device("cpu:0"), torch.device("cpu")
MIB = 2**20
LOAD = ModelPatcher.load


class FakeMemory:
    """A device's memory: what is not taken by the models that ComfyUI has loaded is free.

    While ComfyUI loads a model again, it is in none of its lists.
    """

    total = 1024 * MIB

    def __init__(self) -> None:
        self._models: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()

    def load(self, patcher: ModelPatcher, *args: object, **options: object) -> None:
        self._models.add(patcher.model)
        LOAD(patcher, *args, **options)

    def free(self, device: object = None, torch_free_too: bool = False) -> int | tuple[int, int]:
        here = [model for model in self._models if model.device == GPU]
        free = self.total - int(sum(model.model_loaded_weight_memory for model in here))
        return (free, 0) if torch_free_too else free


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMemory]:
    """A device with a memory of a size to choose."""
    fake = FakeMemory()
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    monkeypatch.setattr(ModelPatcher, "load", lambda *args, **options: fake.load(*args, **options))
    monkeypatch.setattr(mm, "get_free_memory", fake.free)
    monkeypatch.setattr(mm, "is_device_cpu", lambda device: device == CPU)
    monkeypatch.setattr(mm, "vram_state", mm.VRAMState.NORMAL_VRAM)
    monkeypatch.setattr(mm, "minimum_inference_memory", lambda: 0)
    monkeypatch.setattr(mm, "extra_reserved_memory", lambda: 0)
    monkeypatch.setattr(mm, "MIN_WEIGHT_MEMORY_RATIO", 0.0)
    yield fake
    mm.unload_all_models()
    assert all(loaded.device != GPU for loaded in mm.current_loaded_models)


@pytest.fixture
def janus(gpu: FakeMemory, checkpoint: Path) -> LoadedJanus:
    """The golden checkpoint in float32 (5 MiB)."""
    return memory.load(checkpoint, "fp32", None)


def other_model(size: int) -> ModelPatcher:
    """Something else that wants to be on the device, of a size in bytes."""
    return ModelPatcher(torch.nn.Sequential(torch.nn.Linear(size // 4, 1, bias=False)), GPU, CPU)


def answer(pipeline: JanusPipeline) -> list[str]:
    return pipeline.understand(None, "Who are you?", TextSampling(max_new_tokens=8))


def draw(pipeline: JanusPipeline, count: int = 1) -> list[list[int]]:
    drawn = pipeline.generate("A fox.", TokenSampling(batch_size=count, seed=3), pixels=False)
    return drawn.tokens.tolist()


def drawing_size(janus: LoadedJanus) -> int:
    """Bytes of the weights that drawing takes on the device."""
    return sum(janus.patchers[part].model_size() for part in (Part.BODY, Part.GENERATION))


def loaded_models() -> list[ModelPatcher]:
    return [loaded.model for loaded in mm.current_loaded_models]


def test_a_run_loads_the_parts_that_it_uses(janus: LoadedJanus, core: JanusPipeline) -> None:
    loaded: set[Part] = set()
    for run, parts in ((draw, {Part.BODY, Part.GENERATION}), (answer, {Part.TEXT_HEAD})):
        assert run(janus.pipeline) == run(core)
        loaded |= parts
        for part in set(Part) - {Part.TEXT_TABLE}:
            patcher = janus.patchers[part]
            assert patcher.loaded_size() == (patcher.model_size() if part in loaded else 0)


@pytest.mark.parametrize("room", [0.01, 0.3, 0.7, 0.99])
def test_reserving_memory_leaves_it_free(
    janus: LoadedJanus, gpu: FakeMemory, core: JanusPipeline, room: float
) -> None:
    size, work = movable_size(janus), 3 * MIB
    gpu.total = int(work + room * size)
    janus.pipeline.reserve(work, tuple(Part))
    assert gpu.free() >= work
    assert answer(janus.pipeline) == answer(core)


def test_images_are_drawn_in_runs_that_leave_room_for_all_weights(
    janus: LoadedJanus, gpu: FakeMemory, core: JanusPipeline
) -> None:
    reserved = Reserved()
    draw(replace(core, reserve=reserved.reserve), 2)
    weights, expected = drawing_size(janus), draw(core, 8)
    # A device that does not even hold the model and one image; then one that holds the model and two.
    for total, rows in ((weights + reserved[0] // 4, 8), (weights + reserved[0] + 1, 2)):
        gpu.total = total
        with traced(janus.pipeline.model) as trace:
            drawn = draw(janus.pipeline, 8)
        assert max(trace.rows) == 2 * rows
        assert (loaded_size(janus) == weights) == (rows == 2)
        assert drawn == expected


def test_the_part_of_most_steps_gets_the_memory(janus: LoadedJanus, gpu: FakeMemory) -> None:
    body = janus.patchers[Part.BODY]
    gpu.total = 3 * MIB + body.model_size() + 1
    janus.pipeline.reserve(3 * MIB, tuple(Part))
    assert loaded_size(janus) == body.loaded_size() == body.model_size()


def test_another_model_evicts_janus_and_janus_comes_back(
    janus: LoadedJanus, gpu: FakeMemory, core: JanusPipeline
) -> None:
    gpu.total = 38 * MIB
    other, expected = other_model(34 * MIB), draw(core)
    for _ in range(2):
        assert draw(janus.pipeline) == expected
        assert loaded_models()[0] in janus.patchers.values()
        assert loaded_size(janus) == drawing_size(janus)
        mm.load_models_gpu([other], memory_required=2 * MIB)
        assert loaded_models()[0] is other
        assert other.loaded_size() == other.model_size()
        assert loaded_size(janus) < drawing_size(janus)


def test_partly_evicted_janus_answers(janus: LoadedJanus, gpu: FakeMemory, core: JanusPipeline) -> None:
    gpu.total = 40 * MIB
    janus.pipeline.reserve(MIB, tuple(Part))
    mm.free_memory(gpu.free() + movable_size(janus) // 2, GPU)
    assert 0 < loaded_size(janus) < movable_size(janus)
    assert answer(janus.pipeline) == answer(core)


def test_unload_all_models_leaves_nothing(janus: LoadedJanus, core: JanusPipeline) -> None:
    janus.pipeline.reserve(0, tuple(Part))
    mm.unload_all_models()
    assert all(loaded.device != GPU for loaded in mm.current_loaded_models)
    assert loaded_size(janus) == 0
    assert {parameter.device for parameter in janus.pipeline.model.parameters()} == {CPU}
    assert answer(janus.pipeline) == answer(core)


def test_dropped_model_is_collected_though_it_was_loaded(gpu: FakeMemory, checkpoint: Path) -> None:
    janus = memory.load(checkpoint, "fp32", None)
    answer(janus.pipeline)
    alive = [weakref.ref(janus.pipeline.model)]
    alive += [weakref.ref(patcher) for patcher in janus.patchers.values()]
    alive += [weakref.ref(parameter) for parameter in janus.pipeline.model.parameters()]
    del janus
    gc.collect()
    assert [reference() for reference in alive if reference() is not None] == []
    mm.cleanup_models()
    assert mm.current_loaded_models == []


def test_two_checkpoints_take_turns(gpu: FakeMemory, golden_root: Path, core: JanusPipeline) -> None:
    first, second = (
        memory.load(golden_root / name, "fp32", None) for name in ("janus-pro-tiny", "janus-pro-tiny-bin")
    )
    gpu.total = 2 * MIB + int(1.5 * drawing_size(first))
    expected = draw(core)
    for _ in range(2):
        assert draw(first.pipeline) == expected
        assert draw(second.pipeline) == expected
