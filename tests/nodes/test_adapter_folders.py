"""Which adapters the Janus LoRA node lists, and that a workflow can name no others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pytest
from janus_nodes.janus_core import Part
from janus_nodes.nodes import adapter_folders
from janus_nodes.nodes.lora import JanusLora
from janus_nodes.nodes.memory import LoadedJanus
from support.adapters import distance, logits, write_adapter

MODULE = {"language_model.model.layers.0.self_attn.q_proj": (64, 64)}


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """Two folders of Janus's adapters, as extra_model_paths.yaml can add them, and ComfyUI's own."""
    paths = {name: tmp_path / name for name in ("janus_loras", "more", "loras")}
    folders = {
        "janus_loras": ([str(paths["janus_loras"]), str(paths["more"])], set()),
        "loras": ([str(paths["loras"]), str(tmp_path / "missing")], {".safetensors"}),
    }
    for path in paths.values():
        path.mkdir()
    for name, entry in folders.items():
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, entry)
    yield paths


def test_folders_and_files_are_listed_from_every_path(roots: dict[str, Path]) -> None:
    write_adapter(roots["janus_loras"] / "cats", MODULE)
    write_adapter(roots["more"] / "run" / "v0" / "checkpoint-10", MODULE)
    write_adapter(roots["more"] / "a" / "b" / "c" / "too deep", MODULE)
    write_adapter(roots["more"] / "cats", MODULE, seed=1)  # hidden by the first of this name
    write_adapter(roots["loras"] / "dogs", MODULE)
    write_adapter(roots["loras"] / ".hidden", MODULE)
    for folder in ("more", "loras"):
        shutil.copy(roots["loras"] / "dogs" / "adapter_model.safetensors", roots[folder] / "one.safetensors")
    assert adapter_folders.installed() == {
        "cats": roots["janus_loras"] / "cats",
        "one.safetensors": roots["more"] / "one.safetensors",
        "run/v0/checkpoint-10": roots["more"] / "run" / "v0" / "checkpoint-10",
        "dogs": roots["loras"] / "dogs",
    }
    (combo,) = (entry for entry in JanusLora.define_schema().inputs if entry.id == "adapter")
    assert list(combo.options) == list(adapter_folders.installed())


@pytest.mark.parametrize("name", ["../outside", "/etc", "..", "", "cats/../../outside", "CATS", "C:\\x"])
def test_no_other_name_is_used_as_a_path(roots: dict[str, Path], loaded: LoadedJanus, name: str) -> None:
    write_adapter(roots["janus_loras"] / "cats", MODULE)
    write_adapter(roots["janus_loras"].parent / "outside", MODULE)
    with pytest.raises(FileNotFoundError, match=r"models/janus_loras or models/loras \(cats\), got "):
        JanusLora.execute(loaded, name, 1.0)


def test_no_adapters_yet_is_said(roots: dict[str, Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"\(none yet\), got 'cats'; choose one of these, or put the"):
        adapter_folders.find("cats")
    assert adapter_folders.fingerprint("cats") == ""


def test_the_node_applies_what_it_lists(roots: dict[str, Path], loaded: LoadedJanus) -> None:
    write_adapter(roots["janus_loras"] / "cats", MODULE)
    (adapted,) = JanusLora.execute(loaded, "cats", 0.5).args
    assert [each.name for each in adapted.pipeline.adapters] == ["cats"]
    plain = logits(loaded.pipeline)
    adapted.pipeline.reserve(0, tuple(Part))
    assert distance(logits(adapted.pipeline), plain) > 0.01


def test_the_fingerprint_changes_with_the_files(roots: dict[str, Path]) -> None:
    folder = write_adapter(roots["janus_loras"] / "cats", MODULE)
    before = JanusLora.fingerprint_inputs(adapter="cats", strength=1.0)
    assert before == JanusLora.fingerprint_inputs(adapter="cats", strength=0.5)
    shutil.rmtree(folder)
    write_adapter(folder, {**MODULE, "gen_head.vision_head": None})
    assert JanusLora.fingerprint_inputs(adapter="cats") != before
    assert JanusLora.fingerprint_inputs(adapter=None) == ""
