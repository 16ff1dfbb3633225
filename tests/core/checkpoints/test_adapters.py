"""LoRA adapters in the weights: what peft computes, at any strength, in any precision and order."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from safetensors.torch import load_file, save_file
from support.adapters import (
    LANGUAGE_TARGETS,
    distance,
    edit_adapter,
    logits,
    merged,
    model_tree,
    write_with_peft,
)
from support.checkpoints import assert_same_weights, small_config, write_checkpoint
from support.parametrize import slow_except
from torch import Tensor

pytest.importorskip("peft")


@dataclass(frozen=True)
class Base:
    """A checkpoint of random weights in the original layout."""

    folder: Path
    tensors: Mapping[str, Tensor]
    pipe: JanusPipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("base")
    write_checkpoint(folder, small_config(vocab_size=448))
    return Base(folder, load_file(folder / "model.safetensors"), load_pipeline(folder, dtype=torch.float32))


def with_weights(base: Base, tensors: Mapping[str, Tensor], folder: Path) -> Path:
    """The checkpoint with other weights."""
    shutil.copytree(base.folder, folder)
    save_file(dict(tensors), folder / "model.safetensors")
    return folder


FORMS: dict[str, dict[str, Any]] = {
    "all of the language model": {"target_modules": LANGUAGE_TARGETS},
    "q and v as a regex string": {
        "target_modules": r"^(language_model)(?!.*(lm_head|emb|proj_out)).*\.(q_proj|v_proj)$"
    },
    "rank-stabilized": {"target_modules": ["gate_proj", "down_proj"], "use_rslora": True},
    "patterns of ranks and alphas": {
        "target_modules": LANGUAGE_TARGETS,
        "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 7},
        "alpha_pattern": {r"layers\.\d+\.self_attn\.o_proj": 11, "q_proj": 5},
    },
    "rank-stabilized patterns": {
        "target_modules": ["q_proj", "up_proj"],
        "use_rslora": True,
        "rank_pattern": {r"^language_model\.model\.layers\.0\.self_attn\.q_proj": 3},
        "alpha_pattern": {"up_proj": 1},
    },
    "whole modules": {
        "target_modules": ["q_proj"],
        "modules_to_save": ["aligner", "gen_head", "lm_head", "norm", "embed_tokens"],
    },
    "vision, convolutions and linear heads": {
        "target_modules": ["qkv", "proj", "fc1", "conv_out", "q", "vision_head", "lm_head"]
    },
    "embeddings": {"target_modules": ["embed_tokens", "gen_embed"]},
}


@pytest.mark.parametrize("form", slow_except(FORMS, "patterns of ranks and alphas", "whole modules"))
def test_an_adapter_gives_what_peft_computes(base: Base, form: str, tmp_path: Path) -> None:
    wrapped = write_with_peft(tmp_path / "adapter", model_tree(base.tensors), **FORMS[form])
    expected = load_pipeline(with_weights(base, merged(wrapped), tmp_path / "merged"), dtype=torch.float32)
    found = load_pipeline(base.folder, dtype=torch.float32, adapters=[(tmp_path / "adapter", 1.0)])
    assert distance(logits(found), logits(expected)) <= 1e-4
    assert distance(logits(found), logits(base.pipe)) > 0.01
    assert [adapter.name for adapter in found.adapters] == ["adapter"]
    for name, weight in found.model.state_dict().items():  # also those that no logit depends on
        torch.testing.assert_close(weight, expected.model.state_dict()[name], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def adapter(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the language model and the whole aligner."""
    folder = tmp_path_factory.mktemp("adapters") / "first"
    write_with_peft(
        folder, model_tree(base.tensors), target_modules=LANGUAGE_TARGETS, modules_to_save=["gen_head"]
    )
    return folder


@pytest.fixture(scope="module")
def second(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another adapter for the same model."""
    folder = tmp_path_factory.mktemp("adapters") / "second"
    write_with_peft(
        folder, model_tree(base.tensors), 1, r=2, target_modules=["q_proj"], modules_to_save=["gen_head"]
    )
    return folder


def deltas(base: Base, adapter: Path, tmp_path: Path) -> dict[str, Tensor]:
    """What peft adds to each weight at strength 1."""
    from peft import PeftModel

    whole = merged(PeftModel.from_pretrained(model_tree(base.tensors), str(adapter)))
    return {name: weight - base.tensors[name] for name, weight in whole.items()}


@pytest.mark.parametrize("strength", slow_except([-2.0, 0.35, 1.7], -2.0))
def test_strength_scales_what_is_added(base: Base, adapter: Path, strength: float, tmp_path: Path) -> None:
    added = deltas(base, adapter, tmp_path)
    weights = {name: weight + strength * added[name] for name, weight in base.tensors.items()}
    expected = load_pipeline(with_weights(base, weights, tmp_path / "merged"), dtype=torch.float32)
    found = load_pipeline(base.folder, dtype=torch.float32, adapters=[(adapter, strength)])
    assert distance(logits(found), logits(expected)) <= 1e-4
    assert distance(logits(found), logits(base.pipe)) > 0.01


@pytest.mark.parametrize(
    "dtype", slow_except(["bf16", "fp16", "int8", "int4", torch.bfloat16, torch.float16], "int8", "bf16")
)
def test_other_precisions_are_as_near_as_they_are_without_an_adapter(
    base: Base, adapter: Path, dtype: Any, tmp_path: Path
) -> None:
    """Both errors are against float32: that of the merged weights, and that of the base's own weights."""
    added = deltas(base, adapter, tmp_path)
    weights = {name: weight + added[name] for name, weight in base.tensors.items()}
    exact = logits(load_pipeline(with_weights(base, weights, tmp_path / "merged"), dtype=torch.float32))
    found = logits(load_pipeline(base.folder, dtype=dtype, adapters=[(adapter, 1.0)]))
    rounded_base = logits(load_pipeline(base.folder, dtype=dtype))
    errors = {
        name: (
            float((found[name] - exact[name]).norm() / exact[name].norm()),
            float((rounded_base[name] - whole).norm() / whole.norm()),
        )
        for name, whole in logits(base.pipe).items()
    }
    for name, (with_adapter, without) in errors.items():
        assert 0 < with_adapter <= 1.5 * without, (name, with_adapter, without)


@pytest.mark.parametrize("dtype", slow_except(["bf16", "fp16", "int8", "int4", torch.bfloat16], "int8"))
def test_the_sum_is_rounded_once(base: Base, adapter: Path, dtype: Any, tmp_path: Path) -> None:
    added = deltas(base, adapter, tmp_path)
    weights = {name: weight + added[name] for name, weight in base.tensors.items()}
    expected = logits(load_pipeline(with_weights(base, weights, tmp_path / "merged"), dtype=dtype))
    found = logits(load_pipeline(base.folder, dtype=dtype, adapters=[(adapter, 1.0)]))
    exact = logits(load_pipeline(tmp_path / "merged", dtype=torch.float32))
    # Far below the format's own error: only sums that fall on different sides of a rounding differ.
    assert distance(found, expected) <= 0.2 * distance(expected, exact)


@pytest.mark.parametrize("dtype", slow_except(["auto", torch.float32, torch.bfloat16], torch.bfloat16))
def test_strength_zero_is_the_base_bit_for_bit(base: Base, adapter: Path, dtype: Any) -> None:
    found = load_pipeline(base.folder, dtype=dtype, adapters=[(adapter, 0.0)])
    assert_same_weights(found.model, load_pipeline(base.folder, dtype=dtype).model)
    assert distance(logits(found), logits(load_pipeline(base.folder, dtype=dtype))) == 0
    assert found.adapters == ()


def test_two_adapters_are_their_sum_in_either_order(
    base: Base, adapter: Path, second: Path, tmp_path: Path
) -> None:
    one, two = deltas(base, adapter, tmp_path), deltas(base, second, tmp_path)
    weights = {name: weight + 0.5 * one[name] - two[name] for name, weight in base.tensors.items()}
    expected = load_pipeline(with_weights(base, weights, tmp_path / "merged"), dtype=torch.float32)
    pair = [(adapter, 0.5), (second, -1.0)]
    found = load_pipeline(base.folder, dtype=torch.float32, adapters=pair)
    assert distance(logits(found), logits(expected)) <= 1e-4
    turned = load_pipeline(base.folder, dtype=torch.float32, adapters=pair[::-1])
    assert_same_weights(found.model, turned.model)
    assert found.adapters == turned.adapters


def test_the_same_adapter_twice_counts_twice(base: Base, adapter: Path) -> None:
    twice = load_pipeline(base.folder, dtype=torch.float32, adapters=[(adapter, 0.5), (adapter, 0.25)])
    once = load_pipeline(base.folder, dtype=torch.float32, adapters=[(adapter, 0.75)])
    assert distance(logits(twice), logits(once)) <= 1e-5


def test_shards_and_small_chunks_change_nothing(
    base: Base, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_pipeline(base.folder, dtype=torch.float32, adapters=[(adapter, 1.0)])
    monkeypatch.setattr("janus_nodes.janus_core.checkpoints.reading.CHUNK_BYTES", 1000)
    found = load_pipeline(base.folder, dtype=torch.float32, adapters=[(adapter, 1.0)])
    for name, weight in found.model.state_dict().items():
        torch.testing.assert_close(weight, whole.model.state_dict()[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_under_an_adapter_are_named(
    base: Base, adapter: Path, value: float, tmp_path: Path
) -> None:
    name = "language_model.model.layers.1.self_attn.k_proj.weight"  # joined with others
    broken = base.tensors[name].clone()
    broken[3, 5] = value
    folder = with_weights(base, {**base.tensors, name: broken}, tmp_path / "broken")
    with pytest.raises(ValueError, match=rf"must hold finite weights, got NaN or infinity in {name} "):
        load_pipeline(folder, dtype=torch.float32, adapters=[(adapter, 1.0)])


def test_sums_too_large_for_the_precision_are_named(base: Base, adapter: Path) -> None:
    with pytest.raises(ValueError, match=r"\(as torch\.float16\); .* load it in fp32"):
        load_pipeline(base.folder, dtype=torch.float16, adapters=[(adapter, 1e9)])


def test_tied_embeddings_are_not_adapted_apart(tmp_path: Path) -> None:
    folder = tmp_path / "tied"
    write_checkpoint(folder, small_config(vocab_size=448, tie=True))
    tensors = load_file(folder / "model.safetensors")
    write_with_peft(tmp_path / "adapter", model_tree(tensors), target_modules=["lm_head"])
    with pytest.raises(ValueError, match=r"must not change the embeddings, since input and output of"):
        load_pipeline(folder, adapters=[(tmp_path / "adapter", 1.0)])
    write_with_peft(tmp_path / "other", model_tree(tensors), target_modules=["q_proj"])
    load_pipeline(folder, adapters=[(tmp_path / "other", 1.0)])


def test_modules_that_janus_does_not_use_are_skipped(base: Base, adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "wide")
    pooling = "base_model.model.vision_model.vision_tower.attn_pool.q"

    def widen(tensors: dict[str, Tensor]) -> None:
        tensors[f"{pooling}.lora_A.weight"] = torch.ones(4, 28)
        tensors[f"{pooling}.lora_B.weight"] = torch.ones(28, 4)

    edit_adapter(tmp_path / "wide", widen)
    wide = load_pipeline(base.folder, dtype=torch.float32, adapters=[(tmp_path / "wide", 1.0)])
    assert_same_weights(
        wide.model, load_pipeline(base.folder, dtype=torch.float32, adapters=[(adapter, 1.0)]).model
    )
