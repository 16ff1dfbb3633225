"""What is wrong with a folder of training data is found before training, all of it, by name.

Reported for other programs: victorchall/EveryDream2trainer#16 and titu1994/neural-image-assessment#45 (a run
ends at a damaged image), lucidrains/gigagan-pytorch#27, FlyMyAI/flymyai-lora-trainer#72 (formats dropped
without a word).
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.training import folder_data
from janus_nodes.janus_core.training.__main__ import main
from janus_nodes.janus_core.training.conversations import CONVERSATIONS
from janus_nodes.janus_core.training.folder_data import FolderData
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images with captions."""
    place = tmp_path / "data"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("a.png", "b.jpg", "c.webp", "d.gif"):
        Image.fromarray(pixels).save(place / name)
        (place / name).with_suffix(".txt").write_text(f"caption of {name}", encoding="utf-8")
    return place


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


def test_all_images_that_cannot_be_read_are_named_at_once(folder: Path) -> None:
    cut(folder / "a.png", 50)
    (folder / "b.jpg").write_bytes(b"<html>404</html>")
    (folder / "d.gif").write_bytes(b"")
    seen: list[tuple[int, int]] = []
    with pytest.raises(ValueError) as raised:
        FolderData(folder).check_images(lambda done, total: seen.append((done, total)))
    title, *lines = str(raised.value).splitlines()
    assert title == "all training data must be usable, got 3 problems:"
    names = [str(folder / name) for name in ("a.png", "b.jpg", "d.gif")]
    assert [line.partition(": image must be readable, got: ")[0] for line in lines] == names
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_one_image_that_cannot_be_read_is_one_line(folder: Path) -> None:
    cut(folder / "a.png", 50)
    with pytest.raises(
        ValueError, match=rf"^{folder / 'a.png'}: image must be readable, got: .*; fix or rem"
    ):
        FolderData(folder).check_images()


def test_images_that_are_cut_off_near_their_end_are_used(folder: Path) -> None:
    for name in ("a.png", "b.jpg"):
        cut(folder / name, (folder / name).stat().st_size * 3 // 4)
    data = FolderData(folder)
    data.check_images()
    assert data.picture(random.Random(0)).shape == (64, 64, 3)


def test_images_are_not_kept_when_they_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    picture = np.zeros((2, 2, 3), np.uint8)
    monkeypatch.setattr(folder_data.FolderData, "_read", lambda _, image: read.append(image) or picture)
    FolderData(folder).check_images()
    assert sorted(path.name for path in read) == ["a.png", "b.jpg", "c.webp", "d.gif"]


def test_a_cancelled_check_ends(folder: Path) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FolderData(folder).check_images(cancel)


def test_many_problems_are_cut_to_their_number(folder: Path) -> None:
    for number in range(30):
        (folder / f"broken_{number:02}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"got 30 problems:\n(.*broken_\d\d.png: .*\n){20}and 10 more$"):
        FolderData(folder).check_images()


def test_all_missing_images_of_conversations_are_named(folder: Path) -> None:
    names = ["a.png", "lost.png", "sub/b.jpg", "../a.png"]
    lines = [json.dumps({"image": name, "turns": [["What?", "This."]]}) for name in names]
    (folder / CONVERSATIONS).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(FileNotFoundError) as raised:
        FolderData(folder)
    title, *found = str(raised.value).splitlines()
    assert title.endswith("got 3 problems:")
    assert [line.partition("got ")[2] for line in found] == [f"{name!r}; fix the line" for name in names[1:]]


def test_broken_lines_missing_images_and_captions_in_other_encodings_are_named_together(folder: Path) -> None:
    lines = ['{"turns": 3}', json.dumps({"image": "lost.png", "turns": [["What?", "This."]]})]
    (folder / CONVERSATIONS).write_text("\n".join(lines), encoding="utf-8")
    (folder / "a.txt").write_bytes("Größe".encode("cp1252"))
    with pytest.raises(
        ValueError, match=r"got 3 problems:\n.*a.txt must be a text file in UTF-8.*\n.*line 1 .*\n.*"
    ):
        FolderData(folder)


def test_all_texts_that_do_not_fit_are_named(folder: Path, pipe: JanusPipeline) -> None:
    for name in ("a.txt", "c.txt"):
        (folder / name).write_text("see <image_placeholder>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"got 2 problems:\n.*a.txt: .*\n.*c.txt: "):
        FolderData(folder).check(pipe)


@pytest.mark.parametrize(
    "blank", [b"", b" \r\n\t", "\ufeff".encode(), "\ufeff \n".encode("utf-16-le"), b"\xe2\x80\x8b"]
)
def test_an_empty_caption_is_none_and_named(folder: Path, blank: bytes) -> None:
    (folder / "b.txt").write_bytes(blank)
    data = FolderData(folder)
    assert data.prompts == ("caption of a.png", "caption of c.webp", "caption of d.gif")
    assert data.notes == (
        "empty caption files, which count as none: 1 (b.txt)",
        "images with no caption, conversation or edit: 1 (b.jpg)",
    )


def test_captions_that_windows_saved_are_read(folder: Path) -> None:
    (folder / "a.txt").write_bytes("Größe\r\n".encode("utf-16"))
    (folder / "b.txt").write_bytes("Größe\r\n".encode("utf-8-sig"))
    assert FolderData(folder).prompts[:2] == ("Größe", "Größe")


def test_a_folder_of_empty_captions_is_refused(folder: Path) -> None:
    for file in folder.glob("*.txt"):
        file.write_bytes(b"\n")
    (folder / "e.heic").touch()
    with pytest.raises(FileNotFoundError) as raised:
        FolderData(folder)
    title, empty, _, unread = str(raised.value).splitlines()
    assert "got 4 images and none of these; write captions first" in title
    assert empty == "empty caption files, which count as none: 4 (a.txt, b.txt, c.txt, d.txt)"
    assert unread.startswith("images in formats that cannot be read; convert them to PNG or JPEG: 1 (e.heic")


def test_files_that_are_not_read_are_named(folder: Path) -> None:
    (folder / "more").mkdir()
    for name in ("photo.HEIC", "more/logo.svg", "notes.md", "more/.hidden.heic"):
        (folder / name).write_text("no image", encoding="utf-8")
    (folder / "more" / "download").write_bytes((folder / "a.png").read_bytes())
    (note,) = FolderData(folder).notes
    assert note.startswith("images in formats that cannot be read; convert them to PNG or JPEG: 3 (")
    assert note.endswith(f"({Path('more', 'download')}, {Path('more', 'logo.svg')}, photo.HEIC)")


def test_hidden_folders_are_left_out(folder: Path) -> None:
    hidden = folder / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "a.png").write_bytes(b"broken")
    data = FolderData(folder)
    data.check_images()
    assert data.notes == ()


def test_the_background_of_transparent_images_is_a_choice(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("nothing", encoding="utf-8")
    grey, white = FolderData(tmp_path), FolderData(tmp_path, (1.0, 1.0, 1.0))
    assert np.unique(grey.picture(random.Random(0))).tolist() == [127]
    assert np.unique(white.picture(random.Random(0))).tolist() == [255]
    assert grey.version != white.version


def test_the_command_checks_images_and_says_what_is_not_used(
    folder: Path, golden_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.txt").write_text(" ", encoding="utf-8")
    (folder / "b.jpg").write_bytes(b"broken")
    command = ["finetune", str(golden_root / "janus-pro-tiny"), str(folder), str(tmp_path / "run")]
    with pytest.raises(ValueError, match=r"b.jpg: image must be readable"):
        main([*command, "--steps", "1", "--background", "white"])
    assert "empty caption files, which count as none: 1 (b.txt)\n" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
