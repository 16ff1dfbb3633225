"""Caption files are complete or absent, even if the process is killed while writing."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, TextSampling, caption_folder
from janus_nodes.janus_core.captioning.files import JsonLines, TextFiles
from support.captioning import killed_run, write_images

LINE = '{"file_name": "a.png", "text": "One."}'


def texts_of(folder: Path, output: str) -> dict[str, str]:
    """Captions by image; checks that every one is complete."""
    if output == "txt":
        files = folder.glob("*.txt")
        return {file.with_suffix(".png").name: file.read_text(encoding="utf-8") for file in files}
    content = (folder / "metadata.jsonl").read_text(encoding="utf-8")
    entries = [json.loads(line) for line in content.split("\n")[:-1]]
    assert content.endswith("\n")
    assert len({entry["file_name"] for entry in entries}) == len(entries)
    return {entry["file_name"]: entry["text"] for entry in entries}


@pytest.mark.slow
@pytest.mark.parametrize(("output", "death"), [("txt", "half"), ("txt", "torn"), ("jsonl", "torn")])
def test_a_killed_run_is_completed_by_the_next(
    pipe: JanusPipeline, tmp_path: Path, output: str, death: str
) -> None:
    folder, whole = write_images(tmp_path / "set", 40), write_images(tmp_path / "whole", 40)
    options, sampling = CaptionFolder(output=output), TextSampling(max_new_tokens=4)
    killed_run(folder, output, death)
    written = {file: file.read_bytes() for file in folder.glob("*.txt")}
    assert output == "jsonl" or 10 < len(written) < 30
    assert bool(list(folder.glob(".*"))) == (output == "txt" and death != "half")

    report = caption_folder(pipe, folder, options, sampling)
    assert report.failed == {}
    assert report.done + report.skipped == 40
    assert 10 < report.skipped < 30
    assert output == "jsonl" or report.skipped == len(written)
    assert all(file.read_bytes() == content for file, content in written.items())
    assert not list(folder.glob(".*"))
    caption_folder(pipe, whole, options, sampling)
    assert texts_of(folder, output) == texts_of(whole, output)
    assert len(texts_of(folder, output)) == 40


@pytest.mark.parametrize(
    "torn", [LINE[:-1], LINE[:5], "{", '"', '{"file_name": "b.png", "text": "Größe"}'[:-4], "\x00\x00"]
)
def test_an_incomplete_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "metadata.jsonl"
    file.write_bytes(f"{LINE}\n{torn}".encode()[: None if "ö" not in torn else -6])
    lines = JsonLines(tmp_path, ["a.png", "b.png"])
    assert lines.has("a.png")
    assert not lines.has("b.png")
    assert file.read_text(encoding="utf-8") == f"{LINE}\n"


def test_a_last_line_without_a_line_break_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "metadata.jsonl"
    file.write_text(LINE, encoding="utf-8")
    lines = JsonLines(tmp_path, ["a.png"])
    assert lines.has("a.png")
    lines.write({"b.png": "Zwei Größen \u2028 in a line"})
    first, second, end = file.read_text(encoding="utf-8").split("\n")
    assert (first, end) == (LINE, "")
    assert json.loads(second) == {"file_name": "b.png", "text": "Zwei Größen \u2028 in a line"}
    assert "Größen" in second


def test_the_last_line_of_an_image_wins(tmp_path: Path) -> None:
    file = tmp_path / "metadata.jsonl"
    later = LINE.replace("One", "Two")
    file.write_text(f"{LINE}\n{LINE.replace('a.', 'b.')}\n{later}\n", encoding="utf-8")
    JsonLines(tmp_path, ["a.png"])
    assert file.read_text(encoding="utf-8") == f"{later}\n{LINE.replace('a.', 'b.')}\n"


def test_a_complete_file_is_left_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "metadata.jsonl"
    content = f"\ufeff{LINE}\r\n\r\n".encode()
    file.write_bytes(content)
    lines = JsonLines(tmp_path, ["a.png"])
    lines.finish()
    assert lines.has("a.png")
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "wrong", ["no JSON", "[1]", '{"image": "a.png"}', '{"file_name": 3}', '{"file_name": "a.png"}']
)
def test_an_invalid_line_is_refused_and_the_file_unchanged(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "metadata.jsonl"
    content = f"{LINE}\n{wrong}\n{LINE}\n"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 2 must be .*file_name.*; fix the line"):
        JsonLines(tmp_path, ["a.png"])
    assert file.read_text(encoding="utf-8") == content


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "metadata.jsonl").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=r"metadata\.jsonl must be a file, got a link; remove it"):
        JsonLines(tmp_path / "set", ["a.png"])


def test_names_that_are_not_unicode_are_kept(tmp_path: Path) -> None:
    name = b"na\xefve.png".decode(errors="surrogateescape")
    JsonLines(tmp_path, [name]).write({name: "One."})
    assert JsonLines(tmp_path, [name]).has(name)


def test_equal_names_in_different_folders_do_not_clash(tmp_path: Path) -> None:
    assert TextFiles(tmp_path, ["a.png", "b/a.png", "a.b.png"]).refused == {}


@pytest.mark.parametrize("name", ["./a.png", ".\\a.png", "sub\\b.png", "./sub//b.png"])
def test_a_line_may_spell_its_path_in_other_ways(tmp_path: Path, name: str) -> None:
    image = "a.png" if "a" in name else "sub/b.png"
    line = json.dumps({"file_name": name, "text": "One."})
    (tmp_path / "metadata.jsonl").write_text(f"{line}\n", encoding="utf-8")
    lines = JsonLines(tmp_path, ["a.png", "sub/b.png"])
    assert lines.read(image) == "One."
    lines.finish()
    assert texts_of(tmp_path, "jsonl") == {name: "One."}
    assert lines.write({image: "Two."}) == {}
    lines.finish()
    assert texts_of(tmp_path, "jsonl") == {name: "Two."}


def test_a_backslash_in_a_name_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    names = ["a\\b.png", "a/b.png"]
    JsonLines(tmp_path, names).write(dict(zip(names, ("One.", "Two."), strict=True)))
    lines = JsonLines(tmp_path, names)
    assert [lines.read(name) for name in names] == ["One.", "Two."]


@pytest.mark.parametrize("column", ["text", "note"])
def test_half_a_surrogate_pair_in_a_line_is_kept(tmp_path: Path, column: str) -> None:
    entry = {"file_name": "a.png", "text": "One.", column: "x\ud800"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(entry), encoding="utf-8")
    lines = JsonLines(tmp_path, ["a.png", "b.png"])
    assert lines.write({"a.png": f"{lines.read('a.png')} Two.", "b.png": "Größe"}) == {}
    lines.finish()
    written = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(written[0]) == entry | {"text": f"{entry['text']} Two."}
    assert "Größe" in written[1]


def test_a_full_disk_leaves_complete_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    lines = JsonLines(tmp_path, ["a.png", "b.png"])
    lines.write({"a.png": "One."})
    with monkeypatch.context() as full:
        full.setattr("os.fsync", fail)
        failed = lines.write({"a.png": "Two.", "b.png": "Two."})
    assert list(failed) == ["a.png", "b.png"]
    assert "metadata.jsonl must be writable, got: [Errno 28] No space left" in failed["a.png"]
    assert texts_of(tmp_path, "jsonl") == {"a.png": "One."}
    lines.write({"a.png": "Three."})
    with monkeypatch.context() as full:
        full.setattr("os.fsync", fail)
        lines.finish()
    lines = JsonLines(tmp_path, ["a.png", "b.png"])
    assert lines.read("a.png") == "Three."
    assert not lines.has("b.png")
