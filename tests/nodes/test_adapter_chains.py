"""Chains of LoRA adapters on packed and int8 weights: the checkpoint is loaded once, when they are used."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import comfy.model_management as mm
import pytest
import torch
from janus_nodes.janus_core import Part, load_pipeline
from janus_nodes.nodes import adapters, memory
from janus_nodes.nodes.adapters import with_adapter
from janus_nodes.nodes.memory import LoadedJanus
from support.adapters import distance, edit_adapter, logits, write_adapter
from torch import Tensor

LAYER = "language_model.model.layers.0"
Pairs = tuple[tuple[Path, float], ...]


@pytest.fixture
def links(tmp_path: Path) -> list[Path]:
    """Three adapters: of packed layers, of the same and others, and of a parameter that is not packed."""
    return [
        write_adapter(tmp_path / "first", {f"{LAYER}.self_attn.q_proj": (64, 64)}),
        write_adapter(
            tmp_path / "second", {f"{LAYER}.self_attn.q_proj": (64, 64), "gen_head.vision_head": None}, seed=1
        ),
        write_adapter(tmp_path / "norm", {}, whole=("language_model.model.norm.weight",)),
    ]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Pairs]:
    """The adapters of each load that `with_adapter` causes."""
    counted: list[Pairs] = []
    load = memory.load

    def counting(*arguments: object) -> LoadedJanus:
        counted.append(arguments[3])  # type: ignore[arg-type]
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(adapters, "load", counting)
    return counted


@pytest.fixture(params=["int8", "int4", "fp16"])
def packed(request: pytest.FixtureRequest, checkpoint: Path) -> Iterator[tuple[str, LoadedJanus]]:
    """A model whose linear layers have no unquantized weights, and its precision."""
    yield request.param, memory.load(checkpoint, request.param, None)
    mm.unload_all_models()


def chain(model: LoadedJanus, pairs: Pairs) -> LoadedJanus:
    for path, strength in pairs:
        model = with_adapter(model, path, strength)
    return model


def numbers(loaded: LoadedJanus) -> dict[str, Tensor]:
    """What a model computes when ComfyUI has loaded it for a run."""
    loaded.pipeline.reserve(0, tuple(Part))
    return logits(loaded.pipeline)


def test_a_chain_loads_once_and_gives_the_core_s_numbers(
    packed: tuple[str, LoadedJanus], checkpoint: Path, links: list[Path], loads: list[Pairs]
) -> None:
    precision, base = packed
    plain = numbers(base)
    first, second, norm = links
    for pairs in (
        ((first, 0.7), (second, -1.0), (norm, 1.0)),
        ((norm, 1.0), (first, 0.7), (second, -1.0)),  # its first link is a patch of the base's weights
    ):
        model = chain(base, pairs)
        assert loads == []
        expected = logits(load_pipeline(checkpoint, dtype=precision, adapters=pairs))
        assert distance(numbers(model), expected) == 0
        mm.unload_all_models()
        assert distance(numbers(model), expected) == 0
        assert loads == [pairs]
        loads.clear()
    assert distance(numbers(base), plain) == 0
    assert distance(expected, plain) > 0.01


def test_each_used_branch_loads_once(
    packed: tuple[str, LoadedJanus], checkpoint: Path, links: list[Path], loads: list[Pairs]
) -> None:
    precision, base = packed
    first, second, _ = links
    stem = chain(base, ((first, 1.0),))
    other = chain(stem, ((second, 0.5),))
    assert chain(stem, ((second, 0.0),)) is stem
    for model in (other, stem, other, stem):
        expected = logits(load_pipeline(checkpoint, dtype=precision, adapters=model.adapters))
        assert distance(numbers(model), expected) == 0
    assert loads == [other.adapters, stem.adapters]


def test_another_strength_loads_again_and_the_former_model_is_collected(
    packed: tuple[str, LoadedJanus], links: list[Path], loads: list[Pairs]
) -> None:
    _, base = packed
    first, second, _ = links
    stem = chain(base, ((first, 1.0),))
    model = chain(stem, ((second, 1.0),))
    numbers(model)
    former = weakref.ref(model.pipeline.model)
    model = chain(stem, ((second, 0.5),))
    gc.collect()
    assert former() is None
    numbers(model)
    assert loads == [((first, 1.0), (second, 1.0)), ((first, 1.0), (second, 0.5))]


def test_errors_are_raised_where_an_adapter_is_named(
    packed: tuple[str, LoadedJanus], links: list[Path], loads: list[Pairs], tmp_path: Path
) -> None:
    stem = chain(packed[1], ((links[0], 1.0),))
    for index, (module, text) in enumerate(
        {"o_proj": r"got \[32, 48\]", "z_proj": "names that it lacks"}.items()
    ):
        wrong = write_adapter(tmp_path / f"wrong {index}", {f"{LAYER}.self_attn.{module}": (32, 48)})
        with pytest.raises(ValueError, match=text):
            with_adapter(stem, wrong, 1.0)
    edit_adapter(links[1], lambda tensors: next(iter(tensors.values())).fill_(torch.nan))
    with pytest.raises(ValueError, match="must hold finite numbers, got NaN"):
        with_adapter(stem, links[1], 1.0)
    assert loads == []


def test_a_load_that_failed_is_tried_again(
    packed: tuple[str, LoadedJanus], links: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = chain(packed[1], ((links[0], 1.0),))

    def cancelled(*arguments: object) -> LoadedJanus:
        raise mm.InterruptProcessingException

    with monkeypatch.context() as patched:
        patched.setattr(adapters, "load", cancelled)
        assert "object at" in str(model)  # ComfyUI prints the inputs of a node that fails
        with pytest.raises(mm.InterruptProcessingException):
            _ = model.pipeline
    assert numbers(model)
