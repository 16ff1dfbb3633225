"""Saving: what is written loads as it was, and a broken-off write is never taken for a model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import (
    JanusPipeline,
    TextSampling,
    convert_bin,
    load_pipeline,
    save_checkpoint,
)
from janus_nodes.janus_core.checkpoints.load import load_model
from janus_nodes.janus_core.checkpoints.save import save_model
from janus_nodes.janus_core.config import JanusConfig
from safetensors.torch import load_file
from support.checkpoints import (
    assert_same_weights,
    copy_checkpoint,
    random_model,
    small_config,
    write_checkpoint,
)
from support.parametrize import slow_except

CONFIGS = {
    "one key head": small_config(),
    "as many key heads": small_config(heads=3, kv_heads=3, head_dim=8, hidden_size=72),
    "grouped": small_config(heads=6, kv_heads=2, image_size=36, codebook_size=33),
    "tied": small_config(tie=True),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("dtype", "name"),
    slow_except(
        product((torch.bfloat16, torch.float16, torch.float32), CONFIGS),
        (torch.bfloat16, "tied"),
        (torch.float16, "grouped"),
        (torch.float32, "as many key heads"),
    ),
    ids=str,
)
def test_any_model_comes_back_as_it_was_saved(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    config: JanusConfig = CONFIGS[name]
    written = write_checkpoint(tmp_path / "model", config, dtype=torch.float32)
    pipe = load_pipeline(tmp_path / "model", dtype=dtype)
    assert pipe.model.config == config
    if dtype is torch.float32:
        assert_same_weights(pipe.model, written)
    save_checkpoint(pipe, tmp_path / "again", max_shard_bytes=40_000)
    assert len(list((tmp_path / "again").glob("model-*.safetensors"))) > 3
    again = load_pipeline(tmp_path / "again", dtype=dtype)
    assert again.model.config == config
    assert_same_weights(again.model, pipe.model)
    assert again.model.generation.vq.codebook.weight.dtype is not torch.float16


def test_a_golden_checkpoint_comes_back_with_its_prompts(pipe: JanusPipeline, tmp_path: Path) -> None:
    save_checkpoint(pipe, tmp_path / "renamed")
    again = load_pipeline(tmp_path / "renamed", dtype=torch.float32)
    assert_same_weights(again.model, pipe.model)
    assert again.prompts.chat == pipe.prompts.chat
    assert again.image_processor == pipe.image_processor
    images, question = torch.rand(1, 30, 40, 3), "What is it?"
    options = TextSampling(max_new_tokens=5)
    assert again.understand(images, question, options) == pipe.understand(images, question, options)


@pytest.mark.parametrize("roles", [("User", "Assistant"), ("<|User|>", "<|Assistant|>")], ids=str)
def test_role_texts_survive_a_new_name(pipe: JanusPipeline, tmp_path: Path, roles: tuple[str, str]) -> None:
    prompts = replace(pipe.prompts, chat=replace(pipe.prompts.chat, user=roles[0], assistant=roles[1]))
    save_checkpoint(replace(pipe, prompts=prompts), tmp_path / "renamed")
    chat = load_pipeline(tmp_path / "renamed").prompts.chat
    assert (chat.user, chat.assistant) == roles


def test_saved_names_and_shapes_are_those_of_the_source(
    pipe: JanusPipeline, golden_root: Path, tmp_path: Path
) -> None:
    save_checkpoint(pipe, tmp_path / "model")
    source: dict[str, Any] = {}
    for shard in (golden_root / "janus-pro-tiny").glob("*.safetensors"):
        source |= load_file(shard)
    saved = load_file(tmp_path / "model" / "model.safetensors")
    dropped = {name for name in source if "attn_pool" in name or "codebook_used" in name}
    assert saved.keys() == source.keys() - dropped
    for name, tensor in saved.items():
        assert torch.equal(tensor, source[name]), name


@pytest.mark.parametrize(
    "taken", ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "pytorch_model.bin"]
)
def test_nothing_is_overwritten(pipe: JanusPipeline, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("mine", encoding="utf-8")
    before = contents(tmp_path)
    with pytest.raises(
        FileExistsError, match=f"must not hold a model yet, got {taken}; choose another folder"
    ):
        save_checkpoint(pipe, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("fails_at", [1, 2, 3])
@pytest.mark.parametrize("max_shard_bytes", [10**9, 60_000])
def test_a_save_that_breaks_off_leaves_no_model(
    pipe: JanusPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int, max_shard_bytes: int
) -> None:
    calls = []

    def failing(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        Path(source).rename(target)

    monkeypatch.setattr("os.replace", failing)
    # One file and a config.json make two steps: there is no third to break off at.
    if max_shard_bytes == 10**9 and fails_at == 3:
        save_checkpoint(pipe, tmp_path / "model", max_shard_bytes)
        load_pipeline(tmp_path / "model")
        return
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(pipe, tmp_path / "model", max_shard_bytes)
    with pytest.raises(FileNotFoundError, match="must hold a whole checkpoint"):
        load_pipeline(tmp_path / "model")


@pytest.mark.parametrize(
    "name", slow_except(["tokenizer.json", "special_tokens_map.json"], "special_tokens_map.json")
)
def test_a_save_that_breaks_off_beside_the_weights_leaves_no_model(
    pipe: JanusPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def failing(source: Path, target: Path) -> None:
        target.write_text("{", encoding="utf-8")
        if source.name == name:
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", failing)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(pipe, tmp_path / "model")
    with pytest.raises(
        FileNotFoundError, match=r"must hold a whole checkpoint, got none of these: config\.json"
    ):
        load_pipeline(tmp_path / "model")
    monkeypatch.undo()
    save_checkpoint(pipe, tmp_path / "model")
    assert_same_weights(load_pipeline(tmp_path / "model", dtype=torch.float32).model, pipe.model)


def test_a_pickled_folder_is_converted_beside_its_source(
    golden_root: Path, pipe: JanusPipeline, tmp_path: Path
) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")
    before = contents(folder)
    assert [path.name for path in convert_bin(folder)] == ["model.safetensors"]
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert_same_weights(load_model(folder, dtype=torch.float32), pipe.model)
    assert convert_bin(folder) == []


def test_sharded_pickles_of_awkward_tensors_are_converted(tmp_path: Path) -> None:
    model = random_model(small_config())
    save_model(model, tmp_path / "model")
    folder = tmp_path / "model"
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shutil.copyfile(
        Path(__file__).parents[2] / "golden/janus-pro-tiny/tokenizer.json", folder / "tokenizer.json"
    )
    # Not in one piece, and two names for one memory: pickles may hold both, safetensors neither.
    head = "language_model.lm_head.weight"
    tensors[head] = tensors[head].T.contiguous().T
    embedding = "language_model.model.embed_tokens.weight"
    tensors["language_model.lm_head.weight"] = tensors[embedding] = tensors[head]
    names = list(tensors)
    halves = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, part in halves.items():
        torch.save({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    pickled = load_model(folder, dtype=torch.float32)
    assert len(convert_bin(folder)) == 2
    for file in halves:
        (folder / file).unlink()
    converted = load_model(folder, dtype=torch.float32)
    assert_same_weights(converted, pickled)
    assert torch.equal(converted.body.lm_head.weight, converted.body.embed_tokens.weight)


@pytest.mark.slow
def test_a_conversion_that_breaks_off_leaves_the_pickle_in_use(
    tmp_path: Path, pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "model")

    def failing(source: Any, target: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", failing)
    with pytest.raises(KeyboardInterrupt):
        convert_bin(folder)
    monkeypatch.undo()
    assert_same_weights(load_model(folder, dtype=torch.float32), pipe.model)
    convert_bin(folder)
    assert_same_weights(load_model(folder, dtype=torch.float32), pipe.model)


def test_saved_config_spells_out_every_size(tmp_path: Path) -> None:
    config = small_config()
    config = replace(config, body=replace(config.body, rms_norm_eps=3e-5, rope_theta=77.0))
    write_checkpoint(tmp_path / "model", config, dtype=torch.bfloat16)
    saved = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert saved["torch_dtype"] == "bfloat16"
    assert load_model(tmp_path / "model").config == config
