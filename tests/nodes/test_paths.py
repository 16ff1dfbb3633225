"""Which folders count as checkpoints, and which names reach one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pytest
import utils.extra_config
from janus_nodes.janus_core import DEMONSTRATION, RELEASES
from janus_nodes.nodes import paths
from janus_nodes.nodes.load import JanusLoad
from janus_nodes.nodes.memory import LoadedJanus
from support.checkpoints import copy_checkpoint

# What the Load node lists on every machine.
ALWAYS = (paths.BUILT_IN, *RELEASES)


@pytest.fixture
def mine(janus_folder: Path) -> Iterator[Path]:
    """A checkpoint `mine`, and one outside that no name may reach."""
    outside = copy_checkpoint("janus-pro-tiny", janus_folder.parent / "outside")
    yield copy_checkpoint("janus-pro-tiny", janus_folder / "mine")
    shutil.rmtree(outside)


@pytest.fixture
def extra_roots(tmp_path: Path, janus_folder: Path) -> Iterator[list[Path]]:
    """Two `janus` paths of an extra_model_paths.yaml."""
    roots = [tmp_path / "disk" / "janus", tmp_path / "disk" / "more janus"]
    config = tmp_path / "extra_model_paths.yaml"
    lines = ["other_ui:", f"  base_path: {tmp_path / 'disk'}", "  janus: |", "    janus", "    more janus"]
    config.write_text("\n".join(lines), encoding="utf-8")
    before = folder_paths.folder_names_and_paths[paths.FOLDER]
    folder_paths.folder_names_and_paths[paths.FOLDER] = ([*before[0]], before[1])
    utils.extra_config.load_extra_path_config(str(config))
    yield roots
    folder_paths.folder_names_and_paths[paths.FOLDER] = before


def load(name: str, download: bool = False, convert_bin: bool = False) -> LoadedJanus:
    return JanusLoad.execute(name, "fp32", "auto", download, convert_bin).args[0]


def refused(name: str) -> str:
    """The message that a name is refused with."""
    with pytest.raises(FileNotFoundError) as raised:
        load(name)
    return str(raised.value)


def test_folders_of_one_and_two_levels_are_listed_and_load(mine: Path, janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny-bin", janus_folder / "somebody" / "theirs")
    assert paths.choices() == ["mine", "somebody/theirs", *ALWAYS]
    assert load("somebody/theirs") is not None


def test_empty_folder_lists_the_built_in_checkpoint_first_then_the_releases(janus_folder: Path) -> None:
    (janus_folder / "notes").mkdir()
    (janus_folder / "file.txt").touch()
    assert paths.choices() == ["Janus-Shapes (built-in demonstration)", *RELEASES]
    assert "got 'mine'" in refused("mine")
    assert "(none yet)" in refused("mine")


def test_installed_release_is_listed_once(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "Janus-Pro-7B")
    assert paths.choices() == ["Janus-Pro-7B", paths.BUILT_IN, "Janus-Pro-1B"]


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "mine/../../outside",
        "mine/../mine",
        "..\\outside",
        "mine\\..\\..\\outside",
        "/mine",
        "//mine",
        "~/outside",
        ".",
        "..",
        "",
        "mine\0",
        "nowhere",
        "%2e%2e/outside",
        "file:///outside",
    ],
)
def test_names_that_are_not_listed_are_refused(mine: Path, name: str) -> None:
    message = refused(name)
    assert message.startswith(
        "checkpoint must be one of those in models/janus (mine) or a built-in one, got "
    )
    assert "put the checkpoint's folder there" in message


def test_absolute_path_of_a_checkpoint_is_refused(mine: Path) -> None:
    assert "checkpoint must be one of those" in refused(str(mine))
    assert "checkpoint must be one of those" in refused(str(mine.parent.parent / "outside"))


def test_linked_folder_is_listed_but_no_way_leads_on_from_it(
    mine: Path, janus_folder: Path, tmp_path: Path
) -> None:
    elsewhere = copy_checkpoint("janus-pro-tiny", tmp_path / "deep" / "elsewhere")
    copy_checkpoint("janus-pro-tiny", tmp_path / "deep" / "secret")
    (janus_folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert "linked" in paths.choices()
    assert load("linked") is not None
    for name in ("linked/../secret", "linked/../../deep/secret", "mine/../linked"):
        assert "checkpoint must be one of those" in refused(name)


def test_links_to_nowhere_and_in_circles_do_no_harm(mine: Path, janus_folder: Path) -> None:
    (janus_folder / "nowhere").symlink_to(janus_folder / "gone", target_is_directory=True)
    (janus_folder / "self").symlink_to(janus_folder / "self", target_is_directory=True)
    (mine / "up").symlink_to(janus_folder, target_is_directory=True)
    assert paths.choices() == ["mine", *ALWAYS]


def test_hidden_folders_are_not_listed(mine: Path, janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / ".cache" / "huggingface")
    copy_checkpoint("janus-pro-tiny", janus_folder / ".hidden")
    assert paths.choices() == ["mine", *ALWAYS]


def test_roots_of_extra_model_paths_are_listed_and_the_first_of_a_name_counts(
    mine: Path, extra_roots: list[Path]
) -> None:
    for root, name in ((extra_roots[0], "second"), (extra_roots[1], "third"), (extra_roots[1], "mine")):
        copy_checkpoint("janus-pro-tiny", root / name)
    assert paths.choices() == ["mine", "second", "third", *ALWAYS]
    assert paths.find("mine") == mine
    assert paths.find("third") == extra_roots[1] / "third"
    assert load("third") is not None


def test_absent_release_says_to_turn_on_download(janus_folder: Path) -> None:
    message = refused("Janus-Pro-7B")
    assert "checkpoint 'Janus-Pro-7B' must be in models/janus, got none there" in message
    assert (
        "turn on download on the Load node (14.8 GB from huggingface.co/deepseek-ai/Janus-Pro-7B)" in message
    )


@pytest.mark.parametrize(
    "gone",
    ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
)
def test_incomplete_folder_is_listed_and_loading_names_what_is_missing(mine: Path, gone: str) -> None:
    (mine / gone).unlink()
    assert "mine" in paths.choices()
    message = refused("mine")
    assert "must hold a whole checkpoint, got none of these: " in message
    assert (gone.removesuffix(".index.json") if "index" in gone else gone) in message


def test_fingerprint_changes_with_the_files_of_the_checkpoint(mine: Path) -> None:
    before = JanusLoad.fingerprint_inputs("mine", download=False)
    assert JanusLoad.fingerprint_inputs("mine", download=True) == before
    (mine / "config.json").write_text("{}", encoding="utf-8")
    assert JanusLoad.fingerprint_inputs("mine", download=False) != before
    assert JanusLoad.fingerprint_inputs("../outside") == JanusLoad.fingerprint_inputs("nowhere")


def test_fingerprint_ignores_what_is_no_part_of_the_checkpoint(janus_folder: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", janus_folder / "pickled")
    before = JanusLoad.fingerprint_inputs("pickled")
    (folder / ".DS_Store").touch()
    JanusLoad.execute("pickled", "fp32", "auto", download=False, convert_bin=True)
    assert (folder / "model.safetensors").is_file()
    assert JanusLoad.fingerprint_inputs("pickled") == before


def test_fingerprint_of_a_release_is_the_same_before_and_after_its_download(janus_folder: Path) -> None:
    name = next(iter(RELEASES))
    before = JanusLoad.fingerprint_inputs(name, download=True)
    copy_checkpoint("janus-pro-tiny-bin", janus_folder / name)
    assert JanusLoad.fingerprint_inputs(name, download=True) == before == RELEASES[name].revision


def test_fingerprint_works_for_a_linked_checkpoint_that_is_not_known_yet() -> None:
    assert JanusLoad.fingerprint_inputs(precision="auto") == JanusLoad.fingerprint_inputs(precision="fp32")


def test_a_wrong_choice_is_refused_before_anything_is_written(janus_folder: Path) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", janus_folder / "pickled")
    for precision, template in (("banana", "auto"), ("fp32", "banana"), ("fp32", "alignment")):
        with pytest.raises(ValueError, match=r"(precision|template) must be one of auto, .*, got"):
            JanusLoad.execute("pickled", precision, template, download=False, convert_bin=True)
    assert not list(folder.glob("*.safetensors"))


def test_parts_of_a_checkpoint_are_no_checkpoints(mine: Path) -> None:
    (mine / "vae").mkdir()
    (mine / "vae" / "config.json").write_text("{}", encoding="utf-8")
    assert paths.choices() == ["mine", *ALWAYS]


def test_built_in_checkpoint_loads_without_any_other(janus_folder: Path) -> None:
    assert load(paths.BUILT_IN).pipeline.folder == DEMONSTRATION


def test_folder_of_its_name_does_not_take_the_place_of_the_built_in_checkpoint(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / paths.BUILT_IN)
    assert sorted(paths.choices()) == sorted(ALWAYS)
    assert paths.find(paths.BUILT_IN) == DEMONSTRATION


def test_switches_find_nothing_to_do_for_the_built_in_checkpoint(janus_folder: Path) -> None:
    before = [(file.name, file.stat().st_mtime_ns) for file in sorted(DEMONSTRATION.iterdir())]
    load(paths.BUILT_IN, download=True, convert_bin=True)
    assert [(file.name, file.stat().st_mtime_ns) for file in sorted(DEMONSTRATION.iterdir())] == before
    assert list(janus_folder.iterdir()) == []


def test_fingerprint_of_the_built_in_checkpoint_is_that_of_its_files(janus_folder: Path) -> None:
    before = JanusLoad.fingerprint_inputs(paths.BUILT_IN, download=False)
    assert "model.safetensors" in before
    assert JanusLoad.fingerprint_inputs(paths.BUILT_IN, download=True) == before
