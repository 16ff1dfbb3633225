"""Pickles as trainers save them: the model in an entry among others."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, convert_bin, load_pipeline
from safetensors.torch import load_file
from support.checkpoints import assert_same_weights, single_file_checkpoint
from support.parametrize import slow_except
from torch import Tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint without its weights."""
    folder = single_file_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    return folder


@pytest.fixture
def tensors(folder: Path) -> dict[str, Tensor]:
    """The golden tensors, in memory."""
    file = folder.parent / "model.safetensors"
    return {name: tensor.clone() for name, tensor in load_file(file).items()}


def same_as(folder: Path, pipe: JanusPipeline) -> None:
    assert_same_weights(load_pipeline(folder, dtype=torch.float32).model, pipe.model)


def nested(entry: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: {entry: tensors, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}}


CONTENTS = {
    "alone": lambda tensors: tensors,
    **{name: nested(name) for name in ("state_dict", "model", "module", "model_state_dict", "ema")},
    "twice": lambda tensors: {"model": {"state_dict": tensors, "step": torch.ones(1)}},
    "beside": lambda tensors: {**tensors, "epoch": 3, "args": {"lr": 1e-4}, 7: torch.ones(1)},
    "prefixed": lambda tensors: {"state_dict": {f"module.{name}": t for name, t in tensors.items()}},
}


@pytest.mark.parametrize("kind", slow_except(CONTENTS, "model", "beside", "twice", "prefixed"))
@pytest.mark.parametrize("name", slow_except(["last.pth", "pytorch_model.bin", "a.pt", "b.CKPT"], "last.pth"))
def test_pickles_of_trainers_are_unwrapped(
    folder: Path,
    tensors: dict[str, Tensor],
    pipe: JanusPipeline,
    kind: str,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.save(CONTENTS[kind](tensors), folder / name)
    same_as(folder, pipe)
    lines = [record.message for record in caplog.records if "not the model's weights" in record.message]
    assert len(lines) == (kind not in ("alone", "prefixed"))


def test_a_raw_pickle_is_converted(folder: Path, tensors: dict[str, Tensor], pipe: JanusPipeline) -> None:
    torch.save({"model": tensors, "epoch": 1}, folder / "last.pth")
    assert [file.name for file in convert_bin(folder)] == ["model.safetensors"]
    same_as(folder, pipe)
    assert convert_bin(folder) == []


def test_pickles_of_several_models_are_refused(folder: Path, tensors: dict[str, Tensor]) -> None:
    torch.save({"model": tensors, "state_dict": tensors}, folder / "last.pth")
    with pytest.raises(
        ValueError, match=r"last\.pth must hold the weights of one model, got several: model, st"
    ):
        load_pipeline(folder)


def test_a_dictionary_within_itself_is_refused(folder: Path) -> None:
    content: dict[str, Any] = {"epoch": 1}
    content["model"] = content
    torch.save(content, folder / "last.pth")
    with pytest.raises(ValueError, match=r"last\.pth must hold a dictionary of tensors"):
        load_pipeline(folder)


def test_a_pickle_that_needs_code_says_which(folder: Path, tensors: dict[str, Tensor]) -> None:
    torch.save({"model": tensors, "args": argparse.Namespace(lr=1)}, folder / "last.pth")
    expected = (
        r"refused and not run; do not use this file, but .*state_dict alone.* \(it needs argparse\.Namesp"
    )
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)
