"""Names of checkpoints: spellings of other machines, and what to do about those that fit none."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("name", ["Janus-Pro-1B.safetensors", "janus_pro_1b.fp16.bin"])
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


@pytest.mark.parametrize(
    ("files", "release"),
    [
        ({"pytorch_model.bin": 4_180_000_000}, NAME),
        ({"model.safetensors": 14_840_000_000}, "Janus-Pro-7B"),
        (
            {"model-00001-of-00002.bin": 9_980_000_000, "model-00002-of-00002.bin": 4_860_000_000},
            "Janus-Pro-7B",
        ),
    ],
)
def test_loose_weights_of_a_usual_name_are_known_by_their_size(
    janus_folder: Path, files: dict[str, int], release: str
) -> None:
    for name, size in files.items():
        with (janus_folder / name).open("wb") as file:
            file.truncate(size)  # takes no space on the disk
    (other,) = {*RELEASES} - {release}
    assert f"but {next(iter(files))} right in {janus_folder}; move it into {janus_folder / release}" in (
        refused(release)
    )
    assert "turn on download" in refused(other) and next(iter(files)) not in refused(other)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("Janus-Pro-7B.safetensors", 4_180_000_000), ("Janus-1.3B.safetensors", 4_180_000_000)),
        *(("model.safetensors", 300_000_000), ("Janus-Pro-1B.safetensors", 900_000)),
        *(("janus-pro-1b-lora.safetensors", 40_000_000), ("Janus-Pro-7B-Q4.gguf", 4_180_000_000)),
    ],
)
def test_loose_files_of_other_models_are_not_named(janus_folder: Path, name: str, size: int) -> None:
    with (janus_folder / name).open("wb") as file:
        file.truncate(size)
    assert "got none there; turn on download" in refused(NAME)


def test_a_release_is_not_taken_for_a_fine_tune_of_its_name(janus_folder: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", janus_folder / "my_finetunes" / NAME)
    for spelling in (NAME, "janus-pro-1b", f"{NAME}/"):
        message = refused(spelling)
        assert f"got none there, but my_finetunes/{NAME}, which may be another model; choose it" in message
        assert "turn on download" in message
    message = refused(f"deepseek-ai/{NAME}")
    assert message.startswith("checkpoint must be one of those in models/janus (my_finetunes/Janus-Pro-1B)")
    assert JanusLoad.validate_inputs(checkpoint=f"deepseek-ai/{NAME}") == message
    assert loads(f"my_finetunes/{NAME}") == folder == loads(f"MY_FINETUNES\\{NAME}")


@pytest.mark.parametrize("place", ["deepseek-ai", "downloads/deepseek-ai", "Janus-Pro"])
def test_a_release_in_its_own_places_comes_before_a_fine_tune(janus_folder: Path, place: str) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "my_finetunes" / NAME)
    folder = copy_checkpoint("janus-pro-tiny", janus_folder / place / NAME)
    assert loads(NAME) == folder == loads("JANUS-PRO-1B")


@pytest.mark.parametrize("place", ["Janus-Pro/Janus-Pro-1B", "janus/downloads/deepseek-ai/Janus-Pro-1B"])
def test_new_weights_in_a_folder_that_is_no_download_are_loaded(models: Path, place: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", models / place)
    before = JanusLoad.fingerprint_inputs(NAME)
    assert before == JanusLoad.fingerprint_inputs(NAME) != RELEASES[NAME].revision
    os.utime(folder / "pytorch_model.bin", ns=(1, 1))
    assert JanusLoad.fingerprint_inputs(NAME) != before


def test_of_many_names_the_first_are_shown_and_folders_are_listed_once(
    janus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        (janus_folder / f"tune_{number:02}").mkdir()
        (janus_folder / f"tune_{number:02}" / "config.json").touch()
    listed: list[str] = []
    installed = paths.installed
    monkeypatch.setattr(paths, "installed", lambda: listed.append("once") or installed())
    with pytest.raises(FileNotFoundError) as raised:
        paths.find("nowhere")
    assert "tune_18, tune_19 and 30 more) or a built-in one, got 'nowhere'" in str(raised.value)
    assert listed == ["once"]
    assert JanusLoad.validate_inputs(checkpoint="nowhere") == str(raised.value)
    assert listed == ["once", "once"]
