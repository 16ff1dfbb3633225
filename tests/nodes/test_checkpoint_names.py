"""Names of checkpoints: spellings of other machines, and what to do about those that fit none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import RELEASES
from janus_nodes.nodes import paths
from janus_nodes.nodes.download import download_release
from janus_nodes.nodes.load import JanusLoad
from safetensors.torch import load_file, save_file
from support.checkpoints import copy_checkpoint, single_file_checkpoint

NAME = "Janus-Pro-1B"


@pytest.fixture
def models(janus_folder: Path) -> Iterator[Path]:
    """ComfyUI's `models`, from which all folders are removed that a test adds."""
    folder = janus_folder.parent
    before = {*folder.iterdir()}
    yield folder
    for path in {*folder.iterdir()} - before:
        shutil.rmtree(path)


def loads(name: str, download: bool = False) -> Path:
    """Loads a checkpoint as a workflow does; returns the folder it came from."""
    assert JanusLoad.validate_inputs(checkpoint=name) is True
    return JanusLoad.execute(name, "fp32", "auto", download, False).args[0].pipeline.folder


def refused(name: str) -> str:
    with pytest.raises((FileNotFoundError, ValueError)) as raised:
        JanusLoad.execute(name, "fp32", "auto", download=False, convert_bin=False)
    return str(raised.value)


def test_weights_of_a_releases_name_in_another_model_folder_are_named(models: Path, tmp_path: Path) -> None:
    (models / "test_checkpoints").mkdir()
    weights = single_file_checkpoint(tmp_path / "source") / "model.safetensors"
    shutil.copyfile(weights, models / "test_checkpoints" / "a style named Janus.safetensors")
    assert "turn on download" in refused(NAME)
    shutil.copyfile(weights, models / "test_checkpoints" / "janus_pro_1b.fp16.safetensors")
    message = refused(NAME)
    assert f"janus_pro_1b.fp16.safetensors right in {models / 'test_checkpoints'}; move it into" in message
    assert "turn on download" not in message and "choose" not in message


@pytest.mark.parametrize(
    "spelling",
    [
        *("deepseek-ai\\Janus-Pro-1B", "deepseek-ai/Janus-Pro-1B/", "DeepSeek-AI/janus-pro-1b"),
        *("Janus-Pro-1B", "janus-pro-1b\\", "./deepseek-ai/Janus-Pro-1B", "somebody/Janus-Pro-1B"),
    ],
)
def test_spellings_of_other_machines_mean_the_one_that_fits(janus_folder: Path, spelling: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", janus_folder / "deepseek-ai" / NAME)
    copy_checkpoint("janus-pro-tiny", janus_folder / "other")
    assert loads(spelling) == folder
    (folder / "config.json").touch()
    expected = JanusLoad.fingerprint_inputs("deepseek-ai/Janus-Pro-1B")
    assert JanusLoad.fingerprint_inputs(spelling) == expected != JanusLoad.fingerprint_inputs("other")


def test_a_name_that_fits_several_is_refused_with_all_of_them(janus_folder: Path) -> None:
    for owner in ("one", "two"):
        copy_checkpoint("janus-pro-tiny", janus_folder / owner / "model")
    message = refused("model")
    assert "got 'model', which could be one/model or two/model; choose one of these" in message
    assert JanusLoad.validate_inputs(checkpoint="model") == message
    (janus_folder / "two" / "model" / "config.json").unlink()
    assert loads("model") == janus_folder / "one" / "model"


def test_unknown_names_are_refused_before_the_run(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "mine")
    for name in ("nowhere", "../outside", "mine/../mine", str(janus_folder / "mine")):
        assert "checkpoint must be one of those in models/janus (mine)" in JanusLoad.validate_inputs(name)
    for name in (None, "mine", "janus-pro-7b", *RELEASES, paths.BUILT_IN):
        assert JanusLoad.validate_inputs(checkpoint=name) is True


@pytest.mark.parametrize("name", ["model.safetensors", "Janus-Pro-1B.safetensors", "pytorch_model.bin"])
def test_loose_weights_are_named_and_not_downloaded_again(
    janus_folder: Path, tmp_path: Path, name: str
) -> None:
    single_file_checkpoint(tmp_path / "source")
    tensors = load_file(tmp_path / "source" / "model.safetensors")
    (torch.save if name.endswith(".bin") else save_file)(tensors, janus_folder / name)
    message = refused(NAME)
    assert f"but {name} right in {janus_folder}; move it into {janus_folder / NAME}, with the JSON" in message
    assert "huggingface.co/deepseek-ai/Janus-Pro-1B, or choose 'janus'" in message
    assert "turn on download" not in message
    with pytest.raises(ValueError, match=rf"download must be off while weights lie .*, got {name} right in "):
        download_release(NAME)
    message = refused("janus")
    assert "got none of these: config.json, tokenizer.json; download them from the page of" in message
    assert [file.name for file in janus_folder.iterdir()] == [name]


def test_a_folder_of_a_similar_name_is_named(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "Janus_Pro_1B (1)")
    message = refused(NAME)
    assert (
        "must be in models/janus, got none there of just that name, but Janus_Pro_1B (1); choose" in message
    )
    assert "turn on download" not in message


@pytest.mark.parametrize("place", ["Janus-Pro-1B-Q4.gguf", "Janus-Pro-1B/Janus-Pro-1B-Q4.gguf"])
def test_gguf_files_are_named_as_not_supported(janus_folder: Path, place: str) -> None:
    file = janus_folder / place
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"GGUF")
    message = refused(NAME)
    assert "Janus-Pro-1B-Q4.gguf" in message
    assert "GGUF" in message.replace(".gguf", "")


def test_a_single_file_in_a_folder_says_what_is_missing_and_where_it_is(janus_folder: Path) -> None:
    folder = single_file_checkpoint(janus_folder / "mine")
    for file in folder.glob("*.json"):
        file.unlink()
    message = refused("mine")
    assert "got none of these: config.json, tokenizer.json; download them from the page of" in message
    assert "huggingface.co/deepseek-ai/Janus-Pro-1B" in message
