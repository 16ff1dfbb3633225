"""JSON files and atomic writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core.file_io import write_atomically


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
    assert len(list(tmp_path.iterdir())) == 2
    write_atomically(tmp_path / "a.txt", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"two"


def test_names_as_long_as_file_systems_allow_can_be_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "\u00e9" * 127):
        write_atomically(tmp_path / name, b"one")
        assert (tmp_path / name).read_bytes() == b"one"
