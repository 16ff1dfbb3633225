"""Weight files: every kind is read, and what is missing, broken or hostile gets one clear error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline, missing_files
from janus_nodes.janus_core.checkpoints import reading
from janus_nodes.janus_core.checkpoints.files import find_weight_files
from janus_nodes.janus_core.checkpoints.keymap import ParameterSlice
from janus_nodes.janus_core.checkpoints.reading import TensorInfo, read_chunks, read_infos
from safetensors.torch import load_file, save_file
from support.checkpoints import assert_same_weights, copy_checkpoint, edit_json, single_file_checkpoint

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def whole(infos: Iterable[TensorInfo]) -> list[tuple[TensorInfo, ParameterSlice]]:
    """Pairs each tensor with a parameter of its own shape."""
    return [(info, ParameterSlice(info.name, 0, info.shape, info.shape)) for info in infos]


def test_weight_files_are_found_safetensors_first(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    (folder / "pytorch_model.bin").touch()
    assert names(find_weight_files(folder)) == SHARDS
    (folder / "model.safetensors.index.json").unlink()
    assert names(find_weight_files(folder)) == ["pytorch_model.bin"]


@pytest.mark.parametrize("missing", [*SHARDS, "config.json", "tokenizer.json"])
def test_every_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    (folder / missing).unlink()
    assert missing_files(folder) == [missing]
    expected = f"model must hold a whole checkpoint, got none of these: {missing}; download"
    with pytest.raises(FileNotFoundError, match=expected):
        load_pipeline(folder)


def test_an_empty_folder_lacks_everything(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"config\.json, tokenizer\.json, model\.safetensors or pytorch"
    ):
        load_pipeline(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere, which does not exist; check the name"):
        load_pipeline(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "sub/x.safetensors", "..\\x.bin"])
def test_an_index_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    edit_json(folder / "model.safetensors.index.json", lambda index: index["weight_map"].update(x=name))
    with pytest.raises(
        ValueError, match=r"must name files in its own folder, got .*; do not use this checkpoint"
    ):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("{", "be JSON"),
        ("[]", "hold a JSON object"),
        ("null", "hold a JSON object"),
        ('{"weight_map": []}', "be a shard index with a weight_map"),
        ('{"metadata": {}}', "be a shard index with a weight_map"),
    ],
)
def test_a_broken_index_is_named(tmp_path: Path, text: str, rule: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"index\.json must {rule}, got.*again"):
        load_pipeline(folder)


@pytest.mark.parametrize("length", [0, 5, 200, 0.5, 0.999])
def test_truncated_safetensors_is_named(tmp_path: Path, length: float) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: length if isinstance(length, int) else int(len(content) * length)])
    with pytest.raises(ValueError, match=r"model\.safetensors must be a complete weights file, got: .*again"):
        load_pipeline(folder)


@pytest.mark.parametrize("length", [0, 5, 200, 0.5, 0.999])
def test_truncated_bin_is_named(tmp_path: Path, length: float) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")
    file = folder / "pytorch_model.bin"
    content = file.read_bytes()
    file.write_bytes(content[: length if isinstance(length, int) else int(len(content) * length)])
    with pytest.raises(ValueError, match=r"pytorch_model\.bin must be a complete weights file, got: .*again"):
        load_pipeline(folder)


@pytest.mark.parametrize("golden_name", ["janus-pro-tiny-bin", "janus-pro-tiny"])
def test_a_web_page_in_place_of_weights_is_named(tmp_path: Path, golden_name: str) -> None:
    folder = copy_checkpoint(golden_name, tmp_path / "model")
    file = next(iter(find_weight_files(folder)))
    file.write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(ValueError, match=f"{file.name} must be a complete weights file, got: .*again"):
        load_pipeline(folder)


class Bomb:
    """Unpickling this would make a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.mkdir, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")
    payload = tmp_path / "payload"
    content = {"a": torch.zeros(3), "b": Bomb(payload)}
    torch.save(content, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        ValueError, match="a pickle with other objects, which was refused and not run; do not use"
    ):
        load_pipeline(folder)
    assert not payload.exists()
    # The bomb is real.
    pickle.loads(pickle.dumps(Bomb(payload)))  # noqa: S301
    assert payload.is_dir()


@pytest.mark.parametrize(
    "content", [[torch.zeros(2)], {"a": 1}, torch.zeros(2), {3: torch.ones(1)}, {"state_dict": {}}]
)
def test_pickles_that_are_no_weights_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(ValueError, match=r"x\.bin must hold a dictionary of tensors"):
        read_infos(tmp_path / "x.bin")


@pytest.mark.parametrize("kind", ["safetensors", "bin", "old bin", "state_dict"])
def test_all_kinds_of_files_give_the_same_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"layer.{index}": torch.randn(rows, 40, generator=generator).to(dtype)
        for index, (rows, dtype) in enumerate(
            ((30, torch.float32), (1, torch.bfloat16), (77, torch.float16), (5, torch.float64))
        )
    }
    file = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.bin")
    if kind == "safetensors":
        save_file(tensors, file)
    else:
        content = {"state_dict": tensors} if kind == "state_dict" else tensors
        torch.save(content, file, _use_new_zipfile_serialization=kind != "old bin")
    # Small limits, so that the file is mapped several times and tensors are read in chunks.
    monkeypatch.setattr(reading, "MIN_MAPPED_BYTES", 500)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 500)
    infos = read_infos(file)
    assert {name: info.shape for name, info in infos.items()} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items()
    }
    assert {name: info.num_bytes for name, info in infos.items()} == {
        name: tensor.nbytes for name, tensor in tensors.items()
    }
    read = {name: torch.full_like(tensor, torch.nan) for name, tensor in tensors.items()}
    for info, _, start, values in read_chunks(whole(infos.values())):
        read[info.name][start : start + len(values)] = values
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor), name


def test_only_the_tensors_asked_for_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.ones(3)}, tmp_path / "x.safetensors")
    infos = read_infos(tmp_path / "x.safetensors")
    assert [info.name for info, *_ in read_chunks(whole([infos["b"]]))] == ["b"]


def test_shards_are_listed_once(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
    assert len(index["weight_map"]) > 100
    assert missing_files(folder) == []


@pytest.mark.parametrize(
    "name", ["weights.pth", "Janus-Pro-1B.safetensors", "model.fp16.safetensors", "x.ckpt"]
)
def test_the_only_weights_are_found_under_any_name(tmp_path: Path, pipe: JanusPipeline, name: str) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    tensors = {key: tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
    file = (folder / "model.safetensors").rename(folder / name)
    if file.suffix != ".safetensors":
        torch.save(tensors, file)
    for other in ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", ".hidden.pt"):
        (folder / other).write_bytes(b"no weights")
    assert_same_weights(load_pipeline(folder, dtype=torch.float32).model, pipe.model)


def test_weights_beside_the_index_of_others_are_found(tmp_path: Path, pipe: JanusPipeline) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "last.safetensors")
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert_same_weights(load_pipeline(folder, dtype=torch.float32).model, pipe.model)
    (folder / "last.safetensors").unlink()
    assert missing_files(folder) == sorted(index["weight_map"].values())


def test_several_files_of_other_names_are_named(tmp_path: Path) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    (folder / "two.pth").touch()
    with pytest.raises(
        ValueError, match=r"weights of one model, got one\.safetensors, two\.pth; leave the one"
    ):
        load_pipeline(folder)
    (folder / "one.safetensors").rename(folder / "model.safetensors")
    load_pipeline(folder)


@pytest.mark.parametrize("kept", [1, 2])
def test_shards_without_an_index_ask_for_it(tmp_path: Path, kept: int) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    (folder / "model.safetensors.index.json").unlink()
    for file in sorted(folder.glob("*.safetensors"))[kept:]:
        file.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"got none of these: model\.safetensors\.index\.json; download"
    ):
        load_pipeline(folder)
