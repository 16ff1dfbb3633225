"""Edits of a folder as training data, and fine-tuning on them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.janus_core.training.folder_data import FolderData
from janus_nodes.janus_core.training.folder_edits import EDITS
from PIL import Image

LINE = {"source": "a.png", "instruction": "Make it violet.", "target": "sub/b.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images and an edit of one to the other."""
    place = tmp_path / "data"
    (place / "sub").mkdir(parents=True)
    for name, level in (("a.png", 10), ("sub/b.png", 200)):
        Image.new("RGB", (30, 20), (level, 10, 200)).save(place / name)
    (place / EDITS).write_text(json.dumps(LINE) + "\n\n", encoding="utf-8")
    return place


def test_a_model_learns_the_edits_of_a_folder_and_says_so(folder: Path, golden_root: Path) -> None:
    data = FolderData(folder)
    assert data.shares == (0, 0, 0, 1) and data.notes == ()
    sample = data.edit(random.Random(0))
    assert (sample.source[0, 0, 0], sample.instruction, sample.target[0, 0, 0]) == (
        10,
        LINE["instruction"],
        200,
    )
    run = folder.parent / "run"
    sizes = ("--steps", "8", "--batch-size", "2", "--learning-rate", "1e-2", "--dtype", "fp32")
    main(["finetune", str(golden_root / "janus-pro-tiny"), str(folder), str(run), *sizes])
    losses = [json.loads(line)["editing"] for line in (run / "metrics.jsonl").open()]
    assert min(losses[-3:]) < losses[0]
    assert load_pipeline(run / "checkpoint").edit_form == "janus-4o"


def test_edits_belong_to_the_version_of_the_data(folder: Path) -> None:
    before = FolderData(folder).version
    (folder / EDITS).write_text(json.dumps(LINE | {"instruction": "Other."}), encoding="utf-8")
    assert FolderData(folder).version != before


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{", ValueError, r'edits.jsonl, line 1 must be {"source": "a.png", "instruction": …, "target"'),
        (json.dumps(LINE | {"instruction": " "}), ValueError, r"must be texts that are not empty\); fix the"),
        ('["a"]', ValueError, r"line 1 must be"),
        (
            json.dumps(LINE | {"target": "c.png"}),
            FileNotFoundError,
            r"must name images in .*, got 'c.png'; fi",
        ),
    ],
)
def test_an_invalid_line_is_refused(line: str, error: type[Exception], message: str, folder: Path) -> None:
    (folder / EDITS).write_text(line, encoding="utf-8")
    with pytest.raises(error, match=message):
        FolderData(folder)


def test_edits_for_a_flow_model_and_long_instructions_are_refused(folder: Path, golden_root: Path) -> None:
    with pytest.raises(ValueError, match=r"must generate image tokens to be trained on edits, got 'janusflo"):
        FolderData(folder).check(load_pipeline(golden_root / "janusflow-tiny"))
    (folder / EDITS).write_text(json.dumps(LINE | {"instruction": "red " * 9000}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"instruction must leave room in the model's context"):
        FolderData(folder).check(load_pipeline(golden_root / "janus-pro-tiny"))
