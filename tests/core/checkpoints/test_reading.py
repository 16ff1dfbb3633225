"""Dtypes of weights: any floating-point ones, mixed or not, and each tensor once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, convert_bin, load_pipeline
from janus_nodes.janus_core.checkpoints.reading import read_infos
from safetensors.torch import load_file
from support.checkpoints import assert_same_weights, copy_checkpoint, edit_tensors, single_file_checkpoint
from torch import Tensor

QUERY = "language_model.model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint in one file, to change."""
    return single_file_checkpoint(tmp_path / "model")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.ckpt"])
def test_safetensors_are_known_by_their_content(folder: Path, pipe: JanusPipeline, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert_same_weights(load_pipeline(folder, dtype=torch.float32).model, pipe.model)
    assert convert_bin(folder) == []


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_plain_fp8_weights_are_converted(folder: Path, dtype: torch.dtype) -> None:
    exact = load_file(folder / "model.safetensors")[QUERY].clone()
    edit_tensors(folder, lambda tensors: tensors.update({QUERY: tensors[QUERY].to(dtype)}))
    model = load_pipeline(folder, dtype=torch.float32).model
    loaded = model.body.layers[0].self_attn.qkv_proj.weight[: len(exact)]
    assert torch.equal(loaded, exact.to(dtype).float())


def test_dtypes_may_be_mixed(folder: Path, pipe: JanusPipeline) -> None:
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.float64)

    def mix(tensors: dict[str, Tensor]) -> None:
        tensors.update({name: t.to(kinds[i % 4]) for i, (name, t) in enumerate(sorted(tensors.items()))})

    edit_tensors(folder, mix)
    weights = load_pipeline(folder, dtype=torch.float32).model.state_dict()
    for name, exact in pipe.model.state_dict().items():
        assert torch.allclose(weights[name], exact, rtol=2**-8, atol=1e-7), name


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    first, second = sorted(folder.glob("*.safetensors"))
    second.write_bytes(first.read_bytes())
    with pytest.raises(ValueError, match=r"must hold each tensor once, got .* in .*00001.* and in .*00002"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("before", "offset", "damage"),
    [(b"PK\x01\x02", 0, b"XXXX"), (b"data.pkl", 60, b"\xff" * 10), (b"little", 1, b"XX")],
    ids=["directory of the archive", "name of a tensor", "byte order"],
)
def test_a_damaged_bin_is_named(tmp_path: Path, before: bytes, offset: int, damage: bytes) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")
    file = folder / "pytorch_model.bin"
    content = bytearray(file.read_bytes())
    start = content.index(before) + offset
    content[start : start + len(damage)] = damage
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin must be a complete weights file, got: .*again"):
        load_pipeline(folder)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("damage", [b"\xff", b"\0" * 8, b"h\x63"])
def test_a_damaged_pickle_is_read_or_refused_by_name(tmp_path: Path, zipped: bool, damage: bytes) -> None:
    file = tmp_path / "x.bin"
    tensors = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(4, dtype=torch.bfloat16)}
    torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    refused = 0
    for i in range(30):
        offset = 2 + i * (min(len(content), 600) - 2) // 30
        file.write_bytes(content[:offset] + damage + content[offset + len(damage) :])
        try:
            read_infos(file)
        except ValueError as error:
            assert type(error) is ValueError  # and none of its subclasses
            assert re.match(rf"{re.escape(str(file))} must [^;]+, got.*; ", str(error), re.DOTALL)
            refused += 1
    assert refused >= 5
