"""Which files of a folder are captioned, left out, or reported as not read.

Reported for other programs: FlyMyAI/flymyai-lora-trainer#72 (formats dropped without a word),
bmaltais/kohya_ss#1600 (HEIC), Nerogar/OneTrainer#1065 (AVIF).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, TextSampling, caption_folder
from janus_nodes.janus_core.captioning.find import find_images
from PIL import Image

FORMATS = ("a.gif", "b.TIF", "c.tiff", "d.jfif", "e.Webp", "f.png", "g.tga", "h.psd.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in many formats, some in a subfolder; files that only look like images; and other files."""
    for name in FORMATS:
        kind = "JPEG" if name.endswith("jfif") else None
        Image.new("RGB", (9, 8), "red").save(tmp_path / name, kind)
    (tmp_path / "Drafts [old]").mkdir()
    for name in ("f_mask.png", "F_Mask.PNG"):
        Image.new("L", (9, 8)).save(tmp_path / "Drafts [old]" / name)
    for name in ("photo.HEIC", "logo.svg", "raw.nef", "notes.md", "a.txt", "metadata.jsonl", "Thumbs.db"):
        (tmp_path / name).write_text("no image", encoding="utf-8")
    (tmp_path / "without extension").write_bytes((tmp_path / "f.png").read_bytes())
    (tmp_path / "download.jpg_large").write_bytes((tmp_path / "d.jfif").read_bytes())
    (tmp_path / "._f.png").write_bytes(b"of macOS")
    (tmp_path / ".hidden.heic").write_bytes(b"hidden")
    return tmp_path


def test_every_format_of_pillow_is_found_and_what_is_not_read_is_named(folder: Path) -> None:
    found = find_images(folder)
    assert found.images == sorted(FORMATS)
    assert found.unread == ["download.jpg_large", "logo.svg", "photo.HEIC", "raw.nef", "without extension"]
    assert found.left_out == []
    inner = ["Drafts [old]/F_Mask.PNG", "Drafts [old]/f_mask.png"]
    assert find_images(folder, subfolders=True).images == sorted([*FORMATS, *inner])


@pytest.mark.parametrize(
    ("skip", "left_out"),
    [
        ("*_mask.png", 2),
        ("?.tif ; *.gif\n", 2),
        ("drafts [OLD]/*", 2),
        ("Drafts [old]/", 2),
        (".\\Drafts [old]\\f_*", 2),
        ("*/f_mask.png;F.PNG", 3),
        ("f.p[n]g", 0),
        (" ;\n;", 0),
        ("Drafts", 0),
    ],
)
def test_patterns_leave_images_out(folder: Path, skip: str, left_out: int) -> None:
    found = find_images(folder, subfolders=True, skip=skip)
    assert len(found.left_out) == left_out
    assert sorted(found.left_out + found.images) == find_images(folder, subfolders=True).images


def test_patterns_leave_out_what_is_not_read_without_a_word(folder: Path) -> None:
    assert find_images(folder, skip="*.heic; *.svg; raw.*; * *").unread == ["download.jpg_large"]


def test_a_folder_of_which_nothing_is_left_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"got only ones that skip leaves out \(a.gif, .*; change skip"
    ):
        find_images(folder, skip="*")
    for name in FORMATS:
        (folder / name).unlink()
    with pytest.raises(
        FileNotFoundError, match=r"only ones that are not read \(download.*; convert them to PNG"
    ):
        find_images(folder)


def test_the_report_names_them(pipe: JanusPipeline, folder: Path) -> None:
    options = CaptionFolder(skip="*.gif; ?.tif", output="jsonl")
    report = caption_folder(pipe, folder, options, TextSampling(max_new_tokens=2))
    assert report.done == len(FORMATS) - 2
    lines = report.text.splitlines()
    assert (
        "5 not read though they look like images: download.jpg_large, logo.svg, photo.HEIC, raw.nef, without "
        "extension; convert them to PNG or JPEG" in lines
    )
    assert "2 left out by skip: a.gif, b.TIF" in lines


def test_one_of_two_images_that_share_a_caption_file_can_be_left_out(
    pipe: JanusPipeline, folder: Path
) -> None:
    Image.new("RGB", (9, 8)).save(folder / "f.jpg")
    short = TextSampling(max_new_tokens=2)
    assert sorted(caption_folder(pipe, folder, None, short).failed) == ["f.jpg", "f.png"]
    report = caption_folder(pipe, folder, CaptionFolder(skip="f.jpg"), short)
    assert (report.done, report.failed) == (1, {})
    assert (folder / "f.txt").is_file()
