"""Adapters that are missing, damaged or for another model: one sentence, before any weight is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import load_pipeline
from safetensors.torch import save_file
from support.adapters import edit_adapter, edit_config
from torch import Tensor

MODULE = "base_model.model.language_model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A minimal adapter of the golden checkpoint."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    matrices = {f"{MODULE}.lora_A.weight": torch.ones(2, 64), f"{MODULE}.lora_B.weight": torch.ones(64, 2)}
    save_file(matrices, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def refused(golden_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Checks that an adapter is refused with a text, before any weight of the checkpoint is read."""

    def unread(*arguments: object) -> None:
        raise AssertionError("a weight was read")

    def check(adapter: Path, text: str, strength: float = 1.0) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=text):
            load_pipeline(golden_root / "janus-pro-tiny", adapters=[(adapter, strength)])

    monkeypatch.setattr("janus_nodes.janus_core.loading.load_weights", unread)
    return check


def test_the_minimal_adapter_is_accepted(golden_root: Path, adapter: Path) -> None:
    pipe = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32, adapters=[(adapter, 1.0)])
    plain = load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)
    name = "body.layers.0.self_attn.qkv_proj.weight"
    moved = pipe.model.state_dict()[name] - plain.model.state_dict()[name]
    torch.testing.assert_close(moved[:64], torch.full((64, 64), 4.0))
    assert not moved[64:].any()


def test_missing_files_are_named(adapter: Path, refused: Callable[..., None], tmp_path: Path) -> None:
    refused(
        tmp_path / "nowhere", r"must be a folder with adapter_config\.json or a \.safetensors file, got .*"
    )
    shutil.move(adapter / "adapter_config.json", tmp_path / "config.json")
    refused(adapter, r"must hold adapter_config\.json and its weights, got no adapter_config\.json; use the")
    shutil.move(tmp_path / "config.json", adapter / "adapter_config.json")
    (adapter / "adapter_model.safetensors").unlink()
    refused(adapter, r"got no adapter_model\.safetensors; use the whole folder that the training wrote")


def test_a_truncated_file_is_named(adapter: Path, refused: Callable[..., None]) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(
        adapter, r"adapter_model\.safetensors must be a complete weights file, got: .*; download it again"
    )


def test_a_pickle_with_code_is_refused(adapter: Path, refused: Callable[..., None]) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"x": torch.nn.Linear(1, 1)}, adapter / "adapter_model.bin")
    refused(adapter, r"adapter_model\.bin must hold tensors only, got a pickle with other objects")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("strength", [1.0, 0.0])
def test_numbers_that_are_not_finite_are_refused(
    adapter: Path, refused: Callable[..., None], value: float, strength: float
) -> None:
    edit_adapter(adapter, lambda tensors: tensors[f"{MODULE}.lora_B.weight"][3].fill_(value))
    refused(adapter, rf"must hold finite numbers, got NaN or infinity in {MODULE}\.lora_B\.weight;", strength)


CHANGES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "another width": (
        lambda tensors: tensors.update({f"{MODULE}.lora_A.weight": torch.ones(2, 48)}),
        r"q_proj of rank 2 must change a weight of shape \[64, 64\], got \[64, 48\]; load the checkpoint",
    ),
    "another height": (
        lambda tensors: tensors.update({f"{MODULE}.lora_B.weight": torch.ones(32, 2)}),
        r"must change a weight of shape \[64, 64\], got \[32, 64\]",
    ),
    "another rank": (
        lambda tensors: tensors.update(
            {f"{MODULE}.lora_A.weight": torch.ones(3, 64), f"{MODULE}.lora_B.weight": torch.ones(64, 3)}
        ),
        r"must have the rank of its config, 2, got 3 for language_model\.model\.layers",
    ),
    "two ranks": (
        lambda tensors: tensors.update({f"{MODULE}.lora_A.weight": torch.ones(3, 64)}),
        r"must have matrices of the same rank, got \[3, 64\] and \[64, 2\]",
    ),
    "half a module": (
        lambda tensors: tensors.pop(f"{MODULE}.lora_A.weight"),
        r"must hold two matrices of each module, got up alone of language_model",
    ),
    "whole numbers": (
        lambda tensors: tensors.update({f"{MODULE}.lora_A.weight": torch.ones(2, 64, dtype=torch.int8)}),
        r"must hold matrices of floating-point numbers, got torch\.int8",
    ),
    "a vector": (
        lambda tensors: tensors.update({f"{MODULE}.lora_A.weight": torch.ones(64)}),
        r"must hold matrices of floating-point numbers, got torch\.float32 of shape \[64\]",
    ),
    "nothing": (lambda tensors: tensors.clear(), r"must hold tensors, got none"),
    "another vocabulary": (
        lambda tensors: tensors.update({"base_model.model.language_model.lm_head.weight": torch.ones(9, 64)}),
        r"language_model\.lm_head\.weight must change a weight of shape \[\d+, 64\], got \[9, 64\]",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_that_do_not_fit_are_named(adapter: Path, refused: Callable[..., None], change: str) -> None:
    edit, text = CHANGES[change]
    refused(edit_adapter(adapter, edit), text)


CONFIGS: dict[str, tuple[dict[str, object], str]] = {
    "kind": ({"peft_type": "LOHA"}, r"peft_type in .* must be LORA, got 'LOHA'"),
    "no kind": ({"peft_type": None}, r"peft_type in .* must be LORA, got None"),
    "dora": ({"use_dora": True}, r"use_dora in .* must be false, got true; DoRA"),
    "bias": ({"bias": "lora_only"}, r"bias in .* must be unset, got 'lora_only'; it is not supported"),
    "transposed": ({"fan_in_fan_out": True}, r"fan_in_fan_out in .* must be unset, got True"),
    "pissa": ({"init_lora_weights": "pissa_niter_4"}, r"init_lora_weights in .* got 'pissa_niter_4'"),
    "replication": (
        {"layer_replication": [[0, 2]]},
        r"layer_replication in .* must be unset, got \[\[0, 2\]\]",
    ),
    "the future": ({"use_warp": "fast"}, r"use_warp in .* must be unset, got 'fast'"),
    "rank": ({"r": 0}, r'must be numbers above 0, got \{"r": 0'),
    "no alpha": ({"lora_alpha": None}, r'must be numbers above 0, got .*"lora_alpha": null'),
    "alpha": ({"lora_alpha": "big"}, r'must be numbers above 0, got .*"lora_alpha": "big"'),
    "patterns": ({"rank_pattern": {"q_proj": [1]}}, r'must be numbers above 0, got .*"rank_pattern"'),
    "no patterns": ({"alpha_pattern": [3]}, r'must be numbers above 0, got .*"alpha_pattern": \[3\]'),
    "regex": ({"alpha_pattern": {"q_(": 3}}, r"must be regular expressions, got 'q_\('"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_that_are_not_supported_are_refused_by_name(
    adapter: Path, refused: Callable[..., None], name: str
) -> None:
    entries, text = CONFIGS[name]
    refused(edit_config(adapter, **entries), text)


def test_a_broken_config_is_named(adapter: Path, refused: Callable[..., None]) -> None:
    (adapter / "adapter_config.json").write_text("{", encoding="utf-8")
    refused(adapter, r"adapter_config\.json must be JSON, got: ")


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_strengths_that_are_no_numbers_are_refused(
    adapter: Path, refused: Callable[..., None], strength: float
) -> None:
    refused(adapter, r"strength must be a finite number, got (nan|inf) for ", strength)


@pytest.mark.parametrize("metadata", ["{", "[1]", '{"r": 4}'])
def test_broken_metadata_of_a_single_file_is_refused(
    refused: Callable[..., None], metadata: str, tmp_path: Path
) -> None:
    file = tmp_path / "one.safetensors"
    save_file({"x.lora_A.weight": torch.ones(1, 1)}, file, metadata={"adapter_config": metadata})
    refused(file, r"must (be JSON|hold an adapter's config|be numbers above 0), got")
