"""Text files in the encodings of editors, JSON files and atomic writes."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from janus_nodes.janus_core.file_io import read_json, read_text, write_atomically

MARKS_AND_ENCODINGS = [
    (b"", "utf-8"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
]


@pytest.mark.parametrize(("mark", "encoding"), MARKS_AND_ENCODINGS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_text_is_read_whatever_its_mark_and_its_line_ends(
    tmp_path: Path, mark: bytes, encoding: str, line_end: str
) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(mark + '{"a":\n\n"Größe 红"}\n'.replace("\n", line_end).encode(encoding))
    assert read_text(file) == '{"a":\n\n"Größe 红"}\n'
    assert read_json(file) == {"a": "Größe 红"}


def test_an_empty_file_is_an_empty_text(tmp_path: Path) -> None:
    for mark, _ in MARKS_AND_ENCODINGS:
        (tmp_path / "a.txt").write_bytes(mark)
        assert read_text(tmp_path / "a.txt") == ""


def test_a_mark_within_the_text_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a\ufeffb".encode())
    assert read_text(tmp_path / "a.txt") == "a\ufeffb"


@pytest.mark.parametrize("content", ["Größe".encode("latin-1"), codecs.BOM_UTF16_LE + b"a", b"\x89PNG\r\n"])
def test_bytes_that_are_no_text_are_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    for read in (read_text, read_json):
        with pytest.raises(ValueError, match=r"a\.json must be a text file in UTF-8, got .* save it"):
            read(file)


def test_a_file_is_replaced_as_a_whole_and_leftovers_are_cleared(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_atomically(file, b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    stray = tmp_path / "elsewhere"
    stray.write_bytes(b"kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.replace", lambda source, target: Path(source).rename(tmp_path / "left"))
        write_atomically(file, b"two")
    name = next(path for path in tmp_path.iterdir() if path.name == "left")
    assert file.read_bytes() == b"one"
    assert name.read_bytes() == b"two"


def test_a_link_at_the_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    names: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.replace", lambda source, target: names.append(Path(source)))
        write_atomically(tmp_path / "a.txt", b"one")
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    names[0].unlink()
    names[0].symlink_to(victim)
    write_atomically(tmp_path / "a.txt", b"two")
    assert victim.read_bytes() == b"kept"
    assert (tmp_path / "a.txt").read_bytes() == b"two"
    assert not (tmp_path / "a.txt").is_symlink()


def test_content_may_be_written_by_a_function(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", lambda partial: partial.write_bytes(b"one"))
    assert (tmp_path / "a.txt").read_bytes() == b"one"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        partial.write_bytes(b"tw")
        raise KeyboardInterrupt

    write_atomically(tmp_path / "a.txt", b"one")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.txt", fail)
    assert (tmp_path / "a.txt").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    write_atomically(tmp_path / "a.txt", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"two"


def test_names_as_long_as_file_systems_allow_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "\u00e9" * 127):
        write_atomically(tmp_path / name, b"one")
        assert (tmp_path / name).read_bytes() == b"one"
