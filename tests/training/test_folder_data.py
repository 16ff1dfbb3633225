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
    """Two images with captions, one with a conversation, and a conversation without an image."""
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
    pictures, regions = data.regions(random.Random(0), 5)
    assert len(pictures) == 5
    assert [region.picture for region in regions] == list(range(5))
    assert {text for region in regions for text in region.texts} <= set(data.prompts)
    assert data.picture(random.Random(0)).dtype == np.uint8


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{", ValueError, r"conversations.jsonl, line 1 must be"),
        ('{"turns": 3}', ValueError, r"line 1 must be"),
        ('{"turns": []}', ValueError, r"turns must be a list that is not empty"),
        ('{"turns": ["ab"]}', ValueError, r"a list of a question and an answer"),
        ('{"turns": [{"from": "human", "value": "a"}]}', ValueError, r"a list of a question and an answer"),
        ('{"turns": [["a", null]]}', ValueError, r"questions and answers must be texts"),
        ('{"turns": [["a", " "]]}', ValueError, r"questions and answers must be texts"),
        ('{"image": 3, "turns": [["a", "b"]]}', ValueError, r"the image must be a file name"),
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


def test_texts_may_have_a_byte_order_mark_and_unicode_separators(folder: Path) -> None:
    (folder / "a.txt").write_text("a dark picture", encoding="utf-8-sig")
    line = json.dumps({"turns": [["One\u2028or two?", "Two."]]}, ensure_ascii=False)
    (folder / CONVERSATIONS).write_text(line, encoding="utf-8-sig")
    data = FolderData(folder)
    assert data.prompts[0] == "a dark picture"
    assert data.text(random.Random(0)).turns == (("One\u2028or two?", "Two."),)


def test_images_in_subfolders_are_found_and_other_files_ignored(folder: Path) -> None:
    inner = folder / "inner.png"
    inner.mkdir()
    Image.new("RGBA", (9, 9)).save(inner / "D.PNG")
    (inner / "D.txt").write_text("deep", encoding="utf-8")
    (folder / "._a.png").write_bytes(b"no image")
    data = FolderData(folder)
    assert data.prompts == ("a dark picture", "a violet picture", "deep")
    shapes = {data.picture(random.Random(index)).shape for index in range(40)}
    assert shapes == {(20, 30, 3), (20, 31, 3), (20, 32, 3), (9, 9, 3)}


def test_an_image_is_turned_upright_and_scaled_down(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (3000, 1500), "red").save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "a.txt").write_text("red", encoding="utf-8")
    assert FolderData(tmp_path).picture(random.Random(0)).shape == (2048, 1024, 3)


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:50])
    with pytest.raises(ValueError, match=r"[abc].png: image must be readable, got: image file is truncated"):
        FolderData(folder).picture(random.Random(0))


def test_the_version_depends_on_the_texts(folder: Path) -> None:
    version = FolderData(folder).version
    (folder / "a.txt").write_text("another text", encoding="utf-8")
    assert FolderData(folder).version != version == f"folder-{version[7:]}"


def test_a_text_that_does_not_fit_is_reported_before_training(folder: Path, pipe: JanusPipeline) -> None:
    FolderData(folder).check(pipe)
    (folder / "a.txt").write_text("see <image_placeholder>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"a.txt: .* must hold no <image_placeholder>"):
        FolderData(folder).check(pipe)
    (folder / "a.txt").unlink()
    line = {"image": "c.png", "turns": [["Tell.", "long " * 20_000]]}
    (folder / CONVERSATIONS).write_text(json.dumps(line), encoding="utf-8")
    with pytest.raises(ValueError, match=r"jsonl, conversation of 'Tell.': conversation must fit"):
        FolderData(folder).check(pipe)


def test_a_folder_without_texts_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(
        FileNotFoundError, match=r"must hold images with captions .* got 1 images and none of these"
    ):
        FolderData(tmp_path)


@pytest.mark.parametrize("lora", [0, 4])
def test_a_checkpoint_is_fine_tuned_on_a_folder(
    lora: int, folder: Path, golden_root: Path, pipe: JanusPipeline, tmp_path: Path
) -> None:
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
