"""Checkpoint files as Windows editors save them: with a byte-order mark and CRLF line ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.checkpoints.metadata import read_chat_template
from support.checkpoints import GOLDEN, copy_checkpoint

FILES = [path.name for path in sorted((GOLDEN / "janus-pro-tiny").glob("*.json"))]
ENCODINGS = ["utf-8-sig", "utf-16"]


def save_as_windows_does(file: Path, encoding: str) -> None:
    """Rewrites a text file with a byte-order mark and CRLF line ends."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        text = json.dumps(json.loads(text), indent=1, ensure_ascii=False)
    assert "\n" in text
    file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert file.read_bytes()[0] in (0xEF, 0xFF)


def answers(pipe: JanusPipeline) -> torch.Tensor:
    """Probabilities that depend on the images' settings, the template, the tokenizer and the weights."""
    images = torch.linspace(0, 1, 2 * 40 * 30 * 3).reshape(2, 40, 30, 3)
    return pipe.choose(images, "What is it?", ["A cat", "Größe", "红"])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", FILES)
def test_every_json_file_may_have_a_mark(
    tmp_path: Path, pipe: JanusPipeline, name: str, encoding: str
) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    save_as_windows_does(folder / name, encoding)
    assert torch.equal(answers(load_pipeline(folder, dtype="fp32")), answers(pipe))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_vae_of_a_flow_checkpoint_may_have_a_mark(tmp_path: Path, encoding: str) -> None:
    folder = copy_checkpoint("janusflow-tiny", tmp_path / "model")
    shutil.copytree(GOLDEN / "janusflow-tiny" / "vae", folder / "vae")
    for file in (folder / "config.json", folder / "vae" / "config.json"):
        save_as_windows_does(file, encoding)
    assert load_pipeline(folder).model.flow_generation.vae is not None


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_a_chat_template_may_have_a_mark(tmp_path: Path, name: str, encoding: str) -> None:
    template = "{{ messages }}\n<|User|>\n"
    file = tmp_path / name
    text = template if file.suffix == ".jinja" else json.dumps({"chat_template": template})
    file.write_text(text, encoding="utf-8")
    save_as_windows_does(file, encoding)
    assert read_chat_template(tmp_path) == template


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "model")
    for name in ("tokenizer.json", "processor_config.json", "config.json"):
        (folder / name).write_bytes('{"a": "Größe"}'.encode("cp1252"))
        with pytest.raises(ValueError, match=rf"{name} must be a text file in UTF-8, got .*; save it again"):
            load_pipeline(folder)
