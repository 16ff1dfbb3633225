"""Which folder a release is downloaded to: never one of other packs or of the hub's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import folder_paths
import pytest
from janus_nodes.janus_core import RELEASES
from janus_nodes.nodes import paths
from janus_nodes.nodes.release_files import download_folder
from support.checkpoints import copy_checkpoint

NAME = "Janus-Pro-1B"
SNAPSHOT = f"models--deepseek-ai--{NAME}/snapshots/main"


def incomplete(folder: Path) -> Path:
    copy_checkpoint("janus-pro-tiny", folder)
    (folder / "config.json").unlink()
    return folder


@pytest.mark.parametrize("place", [f"hub/{SNAPSHOT}", SNAPSHOT, f"../Janus-Pro/{NAME}", f"../LLM/{NAME}"])
def test_folders_of_other_programs_are_not_completed(janus_folder: Path, place: str) -> None:
    folder = incomplete(janus_folder / place)
    try:
        assert download_folder(NAME) == janus_folder / NAME
        (janus_folder / NAME).symlink_to(folder, target_is_directory=True)
        with pytest.raises(
            ValueError, match=r"^download must have a folder of its own, got .*; remove the li"
        ):
            download_folder(NAME)
    finally:
        for name in ("Janus-Pro", "LLM"):
            shutil.rmtree(janus_folder.parent / name, ignore_errors=True)


@pytest.mark.parametrize("place", [NAME, RELEASES[NAME].repo_id])
def test_incomplete_folders_in_janus_paths_are_continued(
    janus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    registered = ([str(janus_folder), str(tmp_path / "more")], set())
    monkeypatch.setitem(folder_paths.folder_names_and_paths, paths.FOLDER, registered)
    assert download_folder(NAME) == janus_folder / NAME
    folder = incomplete(tmp_path / "more" / place)
    assert download_folder(NAME) == folder


def test_a_link_to_another_disk_is_continued(janus_folder: Path, tmp_path: Path) -> None:
    (janus_folder / NAME).symlink_to(incomplete(tmp_path / "disk"), target_is_directory=True)
    assert download_folder(NAME) == janus_folder / NAME
