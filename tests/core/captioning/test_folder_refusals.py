"""Folders and options that captioning refuses, and links that it does not follow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, TextSampling, caption_folder
from support.captioning import write_images

SHORT = TextSampling(max_new_tokens=6)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of five images."""
    return write_images(tmp_path / "set", 5)


def test_links_that_lead_out_are_not_followed(pipe: JanusPipeline, images: Path, tmp_path: Path) -> None:
    outside = write_images(tmp_path / "outside", 1)
    (images / "linked.png").symlink_to(outside / "image_0.png")
    (images / "more").symlink_to(outside, target_is_directory=True)
    (images / "image_0.txt").symlink_to(outside / "note.txt")
    report = caption_folder(pipe, images, CaptionFolder(subfolders=True, existing="replace"), SHORT)
    assert report.done == 5
    assert report.failed == {
        "linked.png": "image must lie in the folder, got a link that leads out; copy it there"
    }
    assert sorted(path.name for path in outside.iterdir()) == ["image_0.png"]
    assert not (images / "image_0.txt").is_symlink()


def test_folders_without_images_are_refused(pipe: JanusPipeline, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^folder must exist, got .*nowhere; correct"):
        caption_folder(pipe, tmp_path / "nowhere")
    (tmp_path / "file.png").touch()
    with pytest.raises(FileNotFoundError, match=r"^folder must exist"):
        caption_folder(pipe, tmp_path / "file.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.md").touch()
    message = "^folder must hold images, got none in .*set; put some there"
    with pytest.raises(FileNotFoundError, match=message + ", or include its subfolders"):
        caption_folder(pipe, tmp_path / "set")
    with pytest.raises(FileNotFoundError, match=message + "$"):
        caption_folder(pipe, tmp_path / "set", CaptionFolder(subfolders=True))


def test_a_folder_that_cannot_be_read_is_refused(
    pipe: JanusPipeline, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"^folder must be readable, got .*Permission denied.*; change its"):
        caption_folder(pipe, images)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"question": " "}, "question must hold text, got ' '; ask for a caption"),
        ({"output": "csv"}, "output must be one of txt, jsonl, got 'csv'; choose one of these"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        CaptionFolder(**wrong)
