"""Folders and options that captioning refuses, and links that it does not follow."""

from __future__ import annotations

import errno
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


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("question", [None, 5, "", "a\ud800"]),
        ("prefix", [None, 5, [1], "\ud800"]),
        ("suffix", [None, b"a", "\0"]),
        ("skip", [None, 5, ["*.png"]]),
        ("subfolders", [None, "x", 1]),
        ("output", [None, [], {}]),
        ("existing", [None, []]),
        ("background", [None, [], 5]),
    ],
)
def test_options_of_another_type_are_refused(field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf"^{field} must .*, got .*; "):
            CaptionFolder(**{field: value})


@pytest.mark.parametrize("folder", [None, 5, []])
def test_a_folder_that_is_no_path_is_refused(pipe: JanusPipeline, folder: Any) -> None:
    with pytest.raises(ValueError, match=r"^folder must be a path, got .*; give a str"):
        caption_folder(pipe, folder)


@pytest.mark.parametrize("output", ["txt", "jsonl"])
@pytest.mark.parametrize("field", ["prefix", "suffix", "question"])
def test_a_name_that_is_not_unicode_fails_only_where_it_is_put_into_text(
    pipe: JanusPipeline, images: Path, output: str, field: str
) -> None:
    name = b"caf\xe9.png".decode(errors="surrogateescape")
    (images / "image_0.png").rename(images / name)
    options: dict[str, Any] = {field: "{filename}, "}
    report = caption_folder(pipe, images, CaptionFolder(output=output, **options), SHORT)
    assert report.done == 4
    assert list(report.failed) == [name]
    assert report.failed[name].startswith(f"{field} must hold only characters of Unicode text, got '\\udce9'")
    report = caption_folder(pipe, images, CaptionFolder(output=output), SHORT)
    assert (report.done, report.skipped, report.failed) == (1, 4, {})


def test_an_image_without_text_to_ask_with_fails_alone(pipe: JanusPipeline, images: Path) -> None:
    (images / "image_0.png").rename(images / "\N{NO-BREAK SPACE}.png")
    report = caption_folder(pipe, images, CaptionFolder(question="{filename}"), SHORT)
    assert report.done == 4
    assert "question must hold text" in report.failed["\N{NO-BREAK SPACE}.png"]


def test_a_caption_that_cannot_be_written_fails_alone(pipe: JanusPipeline, images: Path) -> None:
    (images / "image_1.txt").mkdir()
    report = caption_folder(pipe, images, CaptionFolder(existing="replace"), SHORT)
    assert report.done == 4
    assert list(report.failed) == ["image_1.png"]
    assert "image_1.txt must be writable, got: " in report.failed["image_1.png"]
    assert not list(images.glob(".*"))
    assert len([path for path in images.glob("*.txt") if path.is_file()]) == 4


def test_a_full_disk_fails_the_images_that_it_has_no_room_for(
    pipe: JanusPipeline, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 2

    def fsync(_: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    report = caption_folder(pipe, images, CaptionFolder(), TextSampling(max_new_tokens=1))
    assert report.done == len(report.cut) == 2
    assert list(report.failed) == ["image_2.png", "image_3.png", "image_4.png"]
    assert sorted(path.name for path in images.glob("*.txt")) == ["image_0.txt", "image_1.txt"]
    assert not list(images.glob(".*"))
