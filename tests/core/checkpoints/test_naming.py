"""Names as trainers save them: used where only one meaning is possible, refused elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.checkpoints.naming import HARMLESS, is_harmless
from support.checkpoints import (
    assert_same_weights,
    edit_tensors,
    single_file_checkpoint,
    small_config,
    write_checkpoint,
)
from support.parametrize import slow_except
from torch import Tensor

NORM = "language_model.model.norm.weight"

PREFIXES = [
    *("module.", "model.", "_orig_mod.", "base_model.model.", "module._orig_mod.", "_forward_module."),
    *("student.", "vl_gpt.model.", "_fsdp_wrapped_module."),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint in one file, to change."""
    return single_file_checkpoint(tmp_path / "model")


def prefixed(prefix: str) -> Callable[[dict[str, Tensor]], object]:
    """An edit that puts a prefix before all names."""

    def edit(tensors: dict[str, Tensor]) -> None:
        renamed = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)

    return edit


def same_as(folder: Path, pipe: JanusPipeline) -> None:
    assert_same_weights(load_pipeline(folder, dtype=torch.float32).model, pipe.model)


@pytest.mark.parametrize("prefix", slow_except(PREFIXES, "module.", "model.", "module._orig_mod."))
def test_a_prefix_of_all_names_is_removed_with_one_log_line(
    folder: Path, pipe: JanusPipeline, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    edit_tensors(folder, prefixed(prefix))
    same_as(folder, pipe)
    (line,) = [record.message for record in caplog.records if "trainer's prefix" in record.message]
    assert f"as in {prefix}" in line


def test_wrappers_within_names_are_removed(folder: Path, pipe: JanusPipeline) -> None:
    def wrap(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("language_model.")]:
            tensors[name.replace("language_model.", "language_model._orig_mod.")] = tensors.pop(name)

    edit_tensors(folder, wrap)
    same_as(folder, pipe)


def test_names_of_the_layout_keep_their_own_prefixes(
    folder: Path, pipe: JanusPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    same_as(folder, pipe)
    assert not [record for record in caplog.records if "trainer's prefix" in record.message]


def test_an_untied_head_may_be_missing_under_a_prefix_too(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "model", small_config(tie=True))
    edit_tensors(tmp_path / "model", lambda tensors: tensors.pop("language_model.lm_head.weight"))
    edit_tensors(tmp_path / "model", prefixed("module."))
    assert_same_weights(load_pipeline(tmp_path / "model", dtype=torch.float32).model, written)


def test_a_missing_tensor_under_a_prefix_is_named(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: tensors.pop(NORM))
    edit_tensors(folder, prefixed("module."))
    with pytest.raises(ValueError, match=rf"got 1 missing: {NORM}; use config\.json"):
        load_pipeline(folder)


def test_two_models_in_one_checkpoint_are_refused(folder: Path) -> None:
    def twice(tensors: dict[str, Tensor]) -> None:
        names = list(tensors)
        for name in names:
            tensors[f"actor.{name}"] = tensors[name].clone()
            tensors[f"other.{name}"] = tensors.pop(name)

    edit_tensors(folder, twice)
    with pytest.raises(ValueError, match=r"weights of one model, got several, named actor\., other\.…; keep"):
        load_pipeline(folder)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_trainers_copy_is_left_out(
    folder: Path, pipe: JanusPipeline, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    def copy(tensors: dict[str, Tensor]) -> None:
        originals = dict(tensors)
        tensors.clear()
        for name, tensor in originals.items():
            tensors[f"{prefix}{name}"] = tensor
            tensors[f"ema_model.{name}"] = torch.zeros_like(tensor)

    edit_tensors(folder, copy)
    same_as(folder, pipe)
    (line,) = [record.message for record in caplog.records if "left out" in record.message]
    assert "ema_model." in line


def test_one_tensor_under_two_names_is_refused(folder: Path) -> None:
    edit_tensors(folder, prefixed("module."))
    edit_tensors(folder, lambda tensors: tensors.update({NORM: torch.zeros(64)}))
    with pytest.raises(
        ValueError, match=r"must hold each tensor once, got .*norm\.weight and .*norm\.weight"
    ):
        load_pipeline(folder)


SUPERFLUOUS = [
    "v_head.summary.weight",
    "language_model.model.rotary_emb.inv_freq",
    "value_head.0.weight",
    "vision_model.vision_tower.position_ids",
    "gen_vision_model.encoder.norm_out.total_ops",
]


@pytest.mark.parametrize("name", SUPERFLUOUS)
def test_a_superfluous_tensor_is_left_out_with_a_log_line(
    folder: Path, pipe: JanusPipeline, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(3, dtype=torch.int64)}))
    same_as(folder, pipe)
    assert [record.message for record in caplog.records if "left out" in record.message] == [
        f"{folder}: left out, the model does not use them: {name}"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "language_model.model.layers.0.self_attn.q_norm.weight",
        "language_model.model.layers.0.self_attn.q_proj.bias",
        "language_model.model.layers.2.mlp.experts.0.up_proj.weight",
        "gen_head_2.weight",
        "language_model.model.extra_v_head.weight",
    ],
)
def test_a_tensor_of_another_architecture_stays_refused(folder: Path, name: str) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(3), "v_head.bias": torch.ones(1)}))
    with pytest.raises(ValueError, match=rf"got 1 unknown: {name}; use"):
        load_pipeline(folder)


def test_a_missing_tensor_is_an_error_whatever_is_superfluous(folder: Path) -> None:
    edit_tensors(folder, lambda tensors: tensors.update({"v_head.weight": tensors.pop(NORM)}))
    with pytest.raises(ValueError, match=rf"got 1 missing: {NORM}; use"):
        load_pipeline(folder)


def test_harmless_names_are_whole_parts_and_have_reasons() -> None:
    assert all(HARMLESS.values())
    assert is_harmless("v_head.weight") and is_harmless("model.v_head.weight")
    assert not is_harmless("lm_v_head.weight") and not is_harmless("v_head")
