"""LoRA adapters on loaded models: the core's numbers wherever weights are, and weights as before after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import comfy.model_management as mm
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from janus_nodes.janus_core import JanusPipeline, Part, Precision, TextSampling, load_pipeline
from janus_nodes.nodes import memory
from janus_nodes.nodes.adapters import with_adapter
from janus_nodes.nodes.memory import LoadedJanus
from support.adapters import distance, logits, write_adapter
from support.patchers import WHOLE, detach, load_share, unload_share
from torch import Tensor

CPU, GPU = torch.device("cpu"), torch.device("meta")
INT8 = Precision(torch.float32, quantized="int8")
LAYERS = "language_model.model.layers"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter of joined projections, the vision tower, a convolution, and a whole norm."""
    return write_adapter(
        tmp_path / "first",
        {
            f"{LAYERS}.0.self_attn.q_proj": (64, 64),
            f"{LAYERS}.1.self_attn.v_proj": (32, 64),
            f"{LAYERS}.1.mlp.up_proj": None,
            "vision_model.vision_tower.blocks.0.attn.qkv": None,
            "gen_head.vision_head": None,
        },
        whole=("language_model.model.norm.weight",),
    )


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Another adapter, of some of the same layers."""
    return write_adapter(
        tmp_path / "second", {f"{LAYERS}.0.self_attn.q_proj": (64, 64), "aligner.layers.0": None}, seed=1
    )


def core_with(
    checkpoint: Path, *adapters: tuple[Path, float], dtype: object = torch.float32
) -> JanusPipeline:
    return load_pipeline(checkpoint, dtype=dtype, adapters=adapters)  # type: ignore[arg-type]


def snapshot(loaded: LoadedJanus) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in loaded.pipeline.model.state_dict().items()}


def assert_same(loaded: LoadedJanus, before: dict[str, Tensor]) -> None:
    after = loaded.pipeline.model.state_dict()
    assert after.keys() == before.keys()
    assert [name for name in before if not torch.equal(after[name], before[name])] == []


def numbers(loaded: LoadedJanus) -> dict[str, Tensor]:
    """What a model computes when ComfyUI has loaded it for a run."""
    loaded.pipeline.reserve(0, tuple(Part))
    return logits(loaded.pipeline)


def test_a_model_with_and_without_an_adapter_are_used_in_turn(
    loaded: LoadedJanus, checkpoint: Path, adapter: Path, second: Path, core: JanusPipeline
) -> None:
    before = snapshot(loaded)
    models = {
        (): loaded,
        ((adapter, 1.0),): with_adapter(loaded, adapter, 1.0),
        ((adapter, -0.5),): with_adapter(loaded, adapter, -0.5),
        ((adapter, 1.0), (second, 2.0)): with_adapter(with_adapter(loaded, adapter, 1.0), second, 2.0),
    }
    expected = {adapters: logits(core_with(checkpoint, *adapters)) for adapters in models}
    for adapters in [*models, *reversed(models), *models]:
        assert models[adapters].pipeline.model is loaded.pipeline.model
        assert distance(numbers(models[adapters]), expected[adapters]) <= 1e-5
    assert distance(expected[()], expected[((adapter, 1.0),)]) > 0.01
    assert distance(numbers(loaded), logits(core)) == 0
    assert_same(loaded, before)
    numbers(models[((adapter, 1.0),)])
    mm.unload_all_models()
    assert_same(loaded, before)


def test_adapters_may_be_chained_in_any_order(loaded: LoadedJanus, adapter: Path, second: Path) -> None:
    one = with_adapter(with_adapter(loaded, adapter, 0.7), second, -1.0)
    other = with_adapter(with_adapter(loaded, second, -1.0), adapter, 0.7)
    assert one.pipeline.adapters == other.pipeline.adapters
    first = numbers(one)
    assert distance(numbers(other), first) == 0


@pytest.mark.parametrize("share", [1e-6, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_partly_loaded_weights_are_patched_where_they_are_used(
    checkpoint: Path, adapter: Path, share: float, dtype: torch.dtype
) -> None:
    base = memory.load(checkpoint, dtype, None)
    before = snapshot(base)
    adapted = with_adapter(base, adapter, 1.0)
    whole = numbers(adapted)
    detach(adapted)
    assert_same(base, before)
    load_share(adapted, CPU, share)
    assert distance(logits(adapted.pipeline), whole) <= 1e-5
    unload_share(adapted, CPU, 1 / 3)
    assert distance(logits(adapted.pipeline), whole) <= 1e-5
    detach(adapted)
    assert_same(base, before)
    load_share(base, CPU, WHOLE)
    plain = logits(base.pipeline)
    assert distance(plain, logits(core_with(checkpoint, dtype=dtype))) == 0
    # The error of the format with the adapter, and without.
    error = distance(whole, logits(core_with(checkpoint, (adapter, 1.0))))
    assert error <= max(1e-5, 1.5 * distance(plain, logits(core_with(checkpoint)))), error


def test_a_bypassed_adapter_leaves_the_base(loaded: LoadedJanus, adapter: Path, core: JanusPipeline) -> None:
    assert with_adapter(loaded, adapter, 0.0) is loaded
    numbers(with_adapter(loaded, adapter, 1.0))
    assert distance(numbers(loaded), logits(core)) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_patched_weights_reach_a_device_that_cannot_hold_all(
    checkpoint: Path, adapter: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mm, "get_torch_device", lambda: GPU)
    base = memory.load(checkpoint, "bf16", None)
    before = snapshot(base)
    adapted = with_adapter(base, adapter, 1.0)
    load_share(adapted, GPU, share)
    # ComfyUI keeps the originals of patched weights on the CPU: of those on the device, in its backup.
    patched = [patcher for part, patcher in adapted.patchers.items() if patcher is not base.patchers[part]]
    backup = {name: each.weight for patcher in patched for name, each in patcher.backup.items()}
    kept, patches = snapshot(base) | backup, {name for patcher in patched for name in patcher.patches}
    assert len(patched) == 3  # the adapter changes neither head nor table of the text
    assert [name for name in patches if not torch.equal(kept[name], before[name])] == []
    assert (len(backup) > 0) is (share > 0)
    hidden = torch.empty(1, 3, 64, device=GPU, dtype=torch.bfloat16)
    layer = adapted.pipeline.model.body.layers[0].self_attn.qkv_proj
    assert layer(hidden).device == GPU
    assert adapted.pipeline.model.generation.head(hidden).device == GPU


@pytest.fixture(params=["int8", "int4", "fp16"])
def packed(request: pytest.FixtureRequest, checkpoint: Path) -> Iterator[tuple[str, LoadedJanus]]:
    """A model whose linear layers have no unquantized weights."""
    yield request.param, memory.load(checkpoint, request.param, None)
    mm.unload_all_models()


def test_packed_weights_are_loaded_again_with_the_adapters(
    packed: tuple[str, LoadedJanus], checkpoint: Path, adapter: Path, second: Path
) -> None:
    precision, base = packed
    plain = numbers(base)
    adapted = with_adapter(base, adapter, 1.0)
    chained = with_adapter(adapted, second, -1.0)
    assert adapted.pipeline.model is not base.pipeline.model
    expected = logits(core_with(checkpoint, (adapter, 1.0), dtype=precision))
    assert distance(numbers(adapted), expected) == 0
    expected = logits(core_with(checkpoint, (second, -1.0), (adapter, 1.0), dtype=precision))
    assert distance(numbers(chained), expected) == 0
    assert distance(numbers(base), plain) == 0


def test_parameters_beside_packed_layers_are_patched(checkpoint: Path, tmp_path: Path) -> None:
    base = memory.load(checkpoint, "int8", None)
    norm = write_adapter(tmp_path / "norm", {}, whole=("language_model.model.norm.weight",))
    adapted = with_adapter(base, norm, 1.0)
    assert adapted.pipeline.model is base.pipeline.model
    expected = logits(core_with(checkpoint, (norm, 1.0), dtype="int8"))
    assert distance(numbers(adapted), expected) == 0


def test_movable_int8_weights_are_never_patched(checkpoint: Path, adapter: Path) -> None:
    base = memory.load(checkpoint, INT8, None)
    adapted = with_adapter(base, adapter, 1.0)
    assert distance(numbers(adapted), logits(core_with(checkpoint, (adapter, 1.0), dtype=INT8))) <= 1e-5
    for budget in (1e32, 0.1):
        foreign: ModelPatcher = base.patchers[Part.BODY].clone()
        foreign.add_patches({"body.layers.0.self_attn.o_proj.weight": (torch.ones(64, 64),)})
        with pytest.raises(ValueError, match="must have unquantized weights to be patched, got int8; load"):
            foreign.partially_load(CPU, budget)
            base.pipeline.model.body.layers[0].self_attn.o_proj(torch.ones(1, 64))
        foreign.detach()


def test_conversations_are_not_continued_from_another_adapter_s_cache(
    loaded: LoadedJanus, checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    language = write_adapter(tmp_path / "language", {f"{LAYERS}.0.self_attn.o_proj": (64, 64)})
    short = TextSampling(max_new_tokens=6)
    adapted = with_adapter(loaded, language, 1.0)
    said = loaded.pipeline.chat("Hello!", options=short)
    assert loaded.pipeline.chat("Why?", None, said, short).tokens_reused > 0
    again = adapted.pipeline.chat("Why?", None, said, short)
    assert again.tokens_reused == 0
    expected = core_with(checkpoint, (language, 1.0)).chat("Why?", None, said, short)
    assert again.turns == expected.turns


def test_an_adapter_of_another_model_is_refused(loaded: LoadedJanus, tmp_path: Path) -> None:
    before = snapshot(loaded)
    wrong = write_adapter(tmp_path / "wrong", {f"{LAYERS}.0.self_attn.q_proj": (32, 48)})
    with pytest.raises(ValueError, match=r"must be for a model of these sizes: .* got \[32, 48\]"):
        with_adapter(loaded, wrong, 1.0)
    numbers(loaded)
    assert_same(loaded, before)
