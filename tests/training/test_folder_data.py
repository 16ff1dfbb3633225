"""A folder of images as training data, and fine-tuning on it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.janus_core.training.folder_data import CONVERSATIONS, FolderData
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images with captions, one with a conversation, and a conversation about none."""
    place = tmp_path / "data"
    place.mkdir()
    for index, name in enumerate(("a", "b", "c")):
        Image.new("RGB", (30 + index, 20), (80 * index, 10, 200)).save(place / f"{name}.png")
    (place / "a.txt").write_text("a dark picture\n", encoding="utf-8")
    (place / "b.txt").write_text("a violet picture", encoding="utf-8")
    lines = [{"image": "c.png", "turns": [["Is it grey?", "No."]]}, {"turns": [["Who are you?", "A model."]]}]
    text = "\n".join(json.dumps(line) for line in lines)
    (place / CONVERSATIONS).write_text(text, encoding="utf-8")
    return place


def test_a_folder_gives_samples_of_each_task(folder: Path) -> None:
    data = FolderData(folder)
    assert data.shares == (1, 1, 1)
    assert data.prompts == ("a dark picture", "a violet picture")
    drawn = [data.understanding(random.Random(index)) for index in range(30)]
    assert {sample.turns[0][1] for sample in drawn} == {"a dark picture", "a violet picture", "No."}
    assert data.text(random.Random(0)).turns == (("Who are you?", "A model."),)
    sample = data.generation(random.Random(0))
    assert sample.caption in data.prompts and sample.picture is not None
    pictures, captions = data.pairs(random.Random(0), 5)
    assert len(pictures) == len(captions) == 5
    assert data.picture(random.Random(0)).dtype == np.uint8


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{", ValueError, r"conversations.jsonl, line 1 must be"),
        ('{"turns": 3}', ValueError, r"line 1 must be"),
        (
            '{"image": "none.png", "turns": [["a", "b"]]}',
            FileNotFoundError,
            r"must name an image .* got 'none.png'",
        ),
        ('{"image": "../x.png", "turns": [["a", "b"]]}', FileNotFoundError, r"must name an image"),
    ],
)
def test_a_broken_line_is_named(folder: Path, line: str, error: type[Exception], message: str) -> None:
    (folder / CONVERSATIONS).write_text(line, encoding="utf-8")
    with pytest.raises(error, match=message):
        FolderData(folder)


def test_a_folder_with_nothing_to_learn_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(
        FileNotFoundError, match=r"must hold images with captions .* got 1 images and neither"
    ):
        FolderData(tmp_path)


@pytest.mark.parametrize("lora", [0, 4])
def test_a_checkpoint_is_fine_tuned_on_a_folder(
    lora: int, folder: Path, golden_root: Path, pipe: JanusPipeline, tmp_path: Path
) -> None:
    if lora:
        pytest.importorskip("peft")
    source = golden_root / "janus-pro-tiny"
    command = ["finetune", str(source), str(folder), str(tmp_path / "run"), "--lora", str(lora)]
    main([*command, "--steps", "3", "--batch-size", "3", "--learning-rate", "1e-2", "--dtype", "fp32"])
    tuned = load_pipeline(tmp_path / "run" / "checkpoint", dtype=torch.float32)
    before, after = pipe.model.state_dict(), tuned.model.state_dict()
    assert before.keys() == after.keys()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert "body.layers.0.self_attn.qkv_proj.weight" in moved
    assert not any(key.startswith("generation.vq.") for key in moved)
    if lora:
        assert all(key.startswith("body.layers.") and key.endswith("proj.weight") for key in moved)
    assert tuned.prompts.chat == pipe.prompts.chat
