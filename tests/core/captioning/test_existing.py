"""What becomes of captions that are there, and which files count as one.

Asked for in other programs: fpgaminer/joycaption#49, kohya-ss/sd-scripts#858 and d8ahazard/sd_smartprocess#46
(append and prepend).
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, caption_folder
from janus_nodes.janus_core.captioning.files import JsonLines, TextFiles
from janus_nodes.janus_core.captioning.options import is_joined
from janus_nodes.janus_core.pipeline.answer import Answer
from PIL import Image

OUTPUTS = pytest.mark.parametrize("output", ["txt", "jsonl"])


@pytest.fixture
def folder(pipe: JanusPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two images; every answer is that there is a cat."""
    (tmp_path / "set").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (9, 8)).save(tmp_path / "set" / f"{name}.png")
    monkeypatch.setattr(
        pipe.__class__, "understand", lambda _, images, *__, **___: [Answer("A cat.")] * len(images)
    )
    return tmp_path / "set"


def write(folder: Path, output: str, caption: str) -> None:
    """Writes a caption of a.png by hand."""
    if output == "txt":
        (folder / "a.txt").write_text(caption, encoding="utf-8")
    else:
        line = json.dumps({"file_name": "a.png", "text": caption, "rating": 5})
        (folder / "metadata.jsonl").write_text(f"{line}\n", encoding="utf-8")


def captions(folder: Path, output: str) -> list[str]:
    """The captions of both images."""
    files = TextFiles if output == "txt" else JsonLines
    return [files(folder, ["a.png", "b.png"]).read(image) for image in ("a.png", "b.png")]


@OUTPUTS
@pytest.mark.parametrize(
    ("existing", "caption"),
    [
        ("skip", "ohwx dog"),
        ("replace", "x, A cat."),
        ("append", "ohwx dog, x, A cat."),
        ("prepend", "x, A cat. ohwx dog"),
    ],
)
def test_an_existing_caption_is_combined_with_the_new_one(
    pipe: JanusPipeline, folder: Path, output: str, existing: str, caption: str
) -> None:
    write(folder, output, " ohwx dog\n")
    report = caption_folder(pipe, folder, CaptionFolder(prefix="x, ", existing=existing, output=output))
    assert captions(folder, output) == [caption, "x, A cat."]
    assert (report.done, report.skipped) == ((1, 1) if existing == "skip" else (2, 0))


@OUTPUTS
@pytest.mark.parametrize("existing", ["append", "prepend"])
def test_the_same_caption_is_not_added_twice(
    pipe: JanusPipeline, folder: Path, output: str, existing: str
) -> None:
    write(folder, output, "A dog.")
    options = CaptionFolder(existing=existing, output=output)
    caption_folder(pipe, folder, options)
    before = captions(folder, output)
    report = caption_folder(pipe, folder, options)
    assert (report.done, report.skipped) == (0, 2)
    assert captions(folder, output) == before


@pytest.mark.parametrize(
    ("old", "joined"),
    [
        ("ohwx", "ohwx, A cat."),
        ("Dog!", "Dog! A cat."),
        ("dog,", "dog, A cat."),
        ("一只狗。", "一只狗。 A cat."),
    ],
)
def test_a_comma_is_put_between_captions_unless_there_is_a_mark(
    pipe: JanusPipeline, folder: Path, old: str, joined: str
) -> None:
    write(folder, "txt", old)
    caption_folder(pipe, folder, CaptionFolder(existing="append"))
    assert captions(folder, "txt")[0] == joined


@pytest.mark.parametrize("existing", ["skip", "append", "prepend", "replace"])
@pytest.mark.parametrize(
    ("output", "blank"),
    [*product(["txt", "jsonl"], ["", " \n\t\r\n", "\u200b \u200b"]), ("txt", "\ufeff"), ("txt", "\ufeff \n")],
)
def test_an_empty_caption_is_none(
    pipe: JanusPipeline, folder: Path, output: str, existing: str, blank: str
) -> None:
    write(folder, output, blank)
    report = caption_folder(pipe, folder, CaptionFolder(existing=existing, output=output))
    assert (report.done, report.skipped) == (2, 0)
    assert captions(folder, output) == ["A cat.", "A cat."]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_caption_saved_by_windows_is_read(pipe: JanusPipeline, folder: Path, encoding: str) -> None:
    (folder / "a.txt").write_bytes("Größe\r\n".encode(encoding))
    (folder / "b.txt").write_bytes("".encode(encoding))
    report = caption_folder(pipe, folder, CaptionFolder(existing="append"))
    assert report.done == 2
    assert (folder / "a.txt").read_bytes() == "Größe, A cat.\n".encode()
    assert (folder / "b.txt").read_bytes() == b"A cat.\n"


def test_lines_saved_by_windows_are_read(pipe: JanusPipeline, folder: Path) -> None:
    line = json.dumps({"file_name": "a.png", "text": "Größe"}, ensure_ascii=False)
    (folder / "metadata.jsonl").write_bytes(f"{line}\r\n".encode("utf-16"))
    report = caption_folder(pipe, folder, CaptionFolder(output="jsonl"))
    assert (report.done, report.skipped) == (1, 1)
    assert captions(folder, "jsonl") == ["Größe", "A cat."]


def test_a_caption_in_another_encoding_is_kept_and_named_if_it_must_be_read(
    pipe: JanusPipeline, folder: Path
) -> None:
    (folder / "a.txt").write_bytes("Größe".encode("cp1252"))
    assert caption_folder(pipe, folder, CaptionFolder()).skipped == 1
    report = caption_folder(pipe, folder, CaptionFolder(existing="append"))
    assert list(report.failed) == ["a.png"]
    assert "a.txt must be a text file in UTF-8" in report.failed["a.png"]
    assert (folder / "a.txt").read_bytes() == "Größe".encode("cp1252")
    assert caption_folder(pipe, folder, CaptionFolder(existing="replace")).failed == {}


def test_a_linked_caption_is_not_copied_into_the_folder(pipe: JanusPipeline, folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("secret", encoding="utf-8")
    (folder / "a.txt").symlink_to(folder.parent / "secret.txt")
    report = caption_folder(pipe, folder, CaptionFolder(existing="append"))
    assert "a.txt must be a file, got a link" in report.failed["a.png"]
    assert (folder.parent / "secret.txt").read_text(encoding="utf-8") == "secret"


def test_other_columns_of_a_line_are_kept(pipe: JanusPipeline, folder: Path) -> None:
    write(folder, "jsonl", "A dog.")
    caption_folder(pipe, folder, CaptionFolder(existing="replace", output="jsonl"))
    first = json.loads((folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first == {"file_name": "a.png", "text": "A cat.", "rating": 5}


@OUTPUTS
@pytest.mark.parametrize("existing", ["append", "prepend"])
@pytest.mark.parametrize(
    ("old", "is_there"),
    [
        ("A cat.", True),
        ("A dog. A cat.", True),
        ("dog, A cat.", True),
        ("A cat. A dog.", True),
        ("A dog. A cat. A bird.", True),
        ("A dog\nA cat.", True),
        ("not A cat.board", False),
        ("not A cat.", False),
        ("A cat.s", False),
        ("BA cat. dog", False),
    ],
)
def test_a_caption_within_other_words_is_not_the_same(
    pipe: JanusPipeline, folder: Path, output: str, existing: str, old: str, is_there: bool
) -> None:
    write(folder, output, old)
    report = caption_folder(pipe, folder, CaptionFolder(existing=existing, output=output))
    assert (report.done, report.skipped) == ((1, 1) if is_there else (2, 0))
    assert (captions(folder, output)[0] == old) == is_there


@pytest.mark.parametrize(
    ("existing", "caption", "is_there"),
    [
        ("cat, dog", "cat", True),
        ("dog, cat", "cat", True),
        ("cat. dog", "cat", False),
        ("a catfish", "cat", False),
        ("cat dog", "cat", False),
        ("x+ y, z", "x+ y", True),
        ("cat, dog", "cat, ", True),
        ("狗。 猫。", "猫。", True),
    ],
)
def test_captions_are_compared_where_they_are_joined(existing: str, caption: str, is_there: bool) -> None:
    assert is_joined(existing, caption) == is_there


@pytest.mark.parametrize("existing", ["append", "prepend"])
@pytest.mark.parametrize("suffix", ["", " ", ", ", "\n", " end"])
def test_several_captions_are_each_added_once(
    pipe: JanusPipeline, folder: Path, existing: str, suffix: str
) -> None:
    runs = [CaptionFolder(existing=existing, prefix=prefix, suffix=suffix) for prefix in ("x", "y", "z")]
    for options in runs:
        caption_folder(pipe, folder, options)
    before = captions(folder, "txt")
    assert [caption_folder(pipe, folder, options).skipped for options in runs] == [2, 2, 2]
    assert captions(folder, "txt") == before
