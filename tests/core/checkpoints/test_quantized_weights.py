"""Models with 4-bit weights in files: saved and read as they are, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    JanusPipeline,
    Precision,
    TextSampling,
    convert_bin,
    load_pipeline,
    save_checkpoint,
    weight_bytes,
)
from janus_nodes.janus_core.checkpoints import fill
from janus_nodes.janus_core.checkpoints.changes import Replacement
from janus_nodes.janus_core.checkpoints.load import load_weights
from janus_nodes.janus_core.checkpoints.on_meta import build_on_meta, replace_on_meta
from janus_nodes.janus_core.checkpoints.sources import find_checkpoint
from janus_nodes.janus_core.models.cpu.packed_linear import FbgemmFp16Linear
from janus_nodes.janus_core.models.quantized import int4_linear
from janus_nodes.janus_core.models.quantized.int4_linear import Int4Linear
from janus_nodes.janus_core.models.quantized.int8_linear import Int8Linear
from janus_nodes.janus_core.models.quantized.registry import check_savable
from safetensors.torch import load_file, save_file
from support.adapters import write_adapter
from support.checkpoints import GOLDEN, assert_same_weights, edit_json
from support.sizes import released_config
from torch import Tensor, nn

TINY = GOLDEN / "janus-pro-tiny"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["device", "CPU without bf16"])
def test_all_of_janus_pro_7b_takes_at_most_4_8_gigabytes(dtype: torch.dtype) -> None:
    model = build_on_meta(released_config("Janus-Pro-7B")).to(dtype)
    for name, layer_class in Precision(dtype, quantized="int4").replacing(model).items():
        replace_on_meta(model, name, layer_class)
    assert 4.5e9 < weight_bytes(model) <= 4.8e9


@pytest.fixture(scope="module")
def saved_int4(tmp_path_factory: pytest.TempPathFactory) -> tuple[JanusPipeline, Path]:
    """The golden model in int4, with layers of 4 and of 8 bits, and the folder that it was saved to."""
    pipe = load_pipeline(TINY, dtype="int4")
    folder = tmp_path_factory.mktemp("saved") / "int4"
    save_checkpoint(pipe, folder, max_shard_bytes=100_000)
    return pipe, folder


@pytest.mark.parametrize("dtype", ["int4", "auto"])
def test_int4_weights_come_back_as_they_were_saved(
    saved_int4: tuple[JanusPipeline, Path], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, folder = saved_int4
    monkeypatch.setattr(int4_linear, "fit_groups", None)  # nothing is fitted again
    again = load_pipeline(folder, dtype=dtype)
    assert [type(layer) for layer in again.model.modules()] == [type(layer) for layer in pipe.model.modules()]
    assert_same_weights(again.model, pipe.model)
    images, options = torch.rand(1, 30, 40, 3), TextSampling(max_new_tokens=5)
    assert again.understand(images, "What?", options) == pipe.understand(images, "What?", options)


@pytest.mark.parametrize("dtype", ["bf16", "int8", torch.float32])
def test_int4_weights_are_not_loaded_in_another_precision(
    saved_int4: tuple[JanusPipeline, Path], dtype: Any
) -> None:
    message = f"precision must be int4 or auto for .*, which was saved in int4, got {dtype}; for another one"
    with pytest.raises(ValueError, match=message):
        load_pipeline(saved_int4[1], dtype=dtype)


def test_an_adapter_is_not_added_to_saved_int4_weights(
    saved_int4: tuple[JanusPipeline, Path], tmp_path: Path
) -> None:
    adapter = write_adapter(
        tmp_path / "adapter", {"language_model.model.layers.0.self_attn.o_proj": (64, 64)}
    )
    with pytest.raises(
        ValueError, match=r"must change unquantized weights, got .*, which was saved in int4; apply"
    ):
        load_pipeline(saved_int4[1], adapters=[(adapter, 1.0)])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("o_proj.weight", lambda codes: codes.float(), r"must contain torch\.uint8, got another dtype"),
        ("o_proj.weight.zero", lambda zero: zero[:, :0], r"must have shape \[64, 1\] by config\.json, got"),
    ],
)
def test_damaged_int4_weights_are_refused(
    saved_int4: tuple[JanusPipeline, Path], tmp_path: Path, name: str, change: Any, message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved_int4[1], folder)
    name = f"language_model.model.layers.0.self_attn.{name}"
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    file = folder / index["weight_map"][name]
    tensors = load_file(file)
    save_file({**tensors, name: change(tensors[name])}, file)
    with pytest.raises(ValueError, match=message):
        load_pipeline(folder)


@pytest.mark.parametrize("quantized", ["int8", "int4"])
def test_a_changed_bias_and_its_weight_meet_in_one_layer(
    quantized: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bias is changed by another thread than the one that makes the layer, which is slow here."""
    checkpoint, precision = find_checkpoint(TINY, None), Precision(torch.float32, quantized=quantized)
    plain = load_weights(checkpoint, "cpu", precision)
    layers = {
        name: layer
        for name, layer in plain.named_modules()
        if isinstance(layer, Int4Linear | Int8Linear) and layer.bias is not None
    }
    changes = {
        f"{name}.bias": [Replacement(0, torch.full((layer.out_features, 1), 0.5), 1.0)]
        for name, layer in layers.items()
    }

    def replace_slowly(*arguments: Any) -> Any:
        made = replace_on_meta(*arguments)
        time.sleep(0.05)
        return made

    monkeypatch.setattr(fill, "replace_on_meta", replace_slowly)
    changed = load_weights(checkpoint, "cpu", precision, changes=changes)
    assert layers
    for name, layer in layers.items():
        own = changed.get_submodule(name)
        assert torch.equal(own.weight, layer.weight)
        torch.testing.assert_close(own.bias, torch.full_like(layer.bias, 0.5))


def test_packed_layers_beside_4_bits_are_not_saved() -> None:
    model = nn.Sequential(Int4Linear(torch.ones(64, 64), None), FbgemmFp16Linear(torch.ones(64, 64), None))
    with pytest.raises(ValueError, match=r"no packed layers beside its 4-bit weights .* got Fbgemm"):
        check_savable(model)


def test_a_pickle_of_int4_weights_is_converted(
    saved_int4: tuple[JanusPipeline, Path], tmp_path: Path
) -> None:
    pipe, folder = saved_int4
    copy = tmp_path / "pickle"
    shutil.copytree(folder, copy)
    tensors: dict[str, Tensor] = {}
    for file in sorted(copy.glob("*.safetensors")):
        tensors |= load_file(file)
        file.unlink()
    (copy / "model.safetensors.index.json").unlink()
    torch.save(tensors, copy / "pytorch_model.bin")
    convert_bin(copy)
    assert_same_weights(load_pipeline(copy).model, pipe.model)


def test_quantized_weights_of_a_later_version_are_refused(
    saved_int4: tuple[JanusPipeline, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved_int4[1], folder)
    edit_json(folder / "config.json", lambda config: config.update(janus_weights="int2"))
    with pytest.raises(
        ValueError, match=r"janus_weights in .*config\.json must be int4, got 'int2'; use a newer"
    ):
        load_pipeline(folder)
