"""Checkpoints that do not lie where they belong are found, by names that stay valid."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import folder_paths
import pytest
from janus_nodes.nodes import paths
from janus_nodes.nodes.checkpoint_folders import installed
from janus_nodes.nodes.load import JanusLoad
from support.checkpoints import GOLDEN, copy_checkpoint

NAME = "Janus-Pro-1B"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def models(janus_folder: Path) -> Iterator[Path]:
    """ComfyUI's `models`, from which all folders are removed that a test adds."""
    folder = janus_folder.parent
    before = {*folder.iterdir()}
    yield folder
    for path in {*folder.iterdir()} - before:
        shutil.rmtree(path)


def hub_cache(folder: Path, commit: str = COMMIT, main: str | None = COMMIT) -> Path:
    """A repository in the hub's cache, as a download with `cache_dir` makes it; returns the snapshot."""
    repository = folder / "models--deepseek-ai--Janus-Pro-1B"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    if main is not None:
        (repository / "refs" / "main").write_text(main, encoding="utf-8")
    for file in (GOLDEN / "janus-pro-tiny").glob("*.*"):
        blob = repository / "blobs" / f"{commit[:2]}{file.name}"
        shutil.copyfile(file, blob)
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / blob.name)
    return snapshot


def loads(name: str, download: bool = False) -> Path:
    """Loads a checkpoint as a workflow does; returns the folder it came from."""
    assert JanusLoad.validate_inputs(checkpoint=name) is True
    return JanusLoad.execute(name, "fp32", "auto", download, False).args[0].pipeline.folder


def refused(name: str) -> str:
    with pytest.raises((FileNotFoundError, ValueError)) as raised:
        JanusLoad.execute(name, "fp32", "auto", download=False, convert_bin=False)
    return str(raised.value)


def test_files_right_in_the_folder_are_offered_by_its_name(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "mine")
    for file in (janus_folder / "mine").iterdir():
        shutil.copyfile(file, janus_folder / file.name)
    assert list(installed()) == ["mine", "janus"]
    assert loads("janus") == janus_folder
    assert loads("mine") == janus_folder / "mine"


def test_a_root_that_is_a_checkpoint_itself_goes_by_its_name(
    janus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_checkpoint("janus-pro-tiny", tmp_path / NAME)
    registered = ([str(janus_folder), str(root)], set())
    monkeypatch.setitem(folder_paths.folder_names_and_paths, paths.FOLDER, registered)
    assert loads(NAME) == root
    assert "turn on download" in refused("Janus-Pro-7B")


def test_a_hub_cache_is_offered_by_the_name_of_its_repository(janus_folder: Path) -> None:
    snapshot = hub_cache(janus_folder)
    assert list(installed()) == ["deepseek-ai/Janus-Pro-1B"]
    assert loads("deepseek-ai/Janus-Pro-1B") == snapshot == loads(NAME)


def test_refs_main_picks_the_snapshot_and_is_no_path(janus_folder: Path) -> None:
    newer = "f" * 40
    snapshot, other = hub_cache(janus_folder), hub_cache(janus_folder, newer)
    assert paths.find(NAME) == snapshot
    hub_refs = snapshot.parents[1] / "refs" / "main"
    copy_checkpoint("janus-pro-tiny", janus_folder.parent / "outside")
    for commit, expected in ((f"{newer}\n", other), ("../../../outside", other), ("", other)):
        hub_refs.write_text(commit, encoding="utf-8")
        assert paths.find(NAME) == expected
    (other / "config.json").unlink()
    assert paths.find(NAME) == snapshot
    shutil.rmtree(janus_folder.parent / "outside")


@pytest.mark.parametrize("parts", [("a", "b", "c"), ("hub",), ("downloads", "deepseek-ai", NAME)])
def test_folders_three_levels_deep_are_found(janus_folder: Path, parts: tuple[str, ...]) -> None:
    folder = janus_folder.joinpath(*parts)
    if len(parts) == 1:
        snapshot = hub_cache(folder)
        assert loads(NAME) == snapshot
        return
    copy_checkpoint("janus-pro-tiny", folder)
    assert list(installed()) == ["/".join(parts)]
    assert loads("/".join(parts)) == folder
    copy_checkpoint("janus-pro-tiny", folder.parent / "deep" / "er")
    assert list(installed()) == ["/".join(parts)]


@pytest.mark.parametrize("place", ["Janus-Pro/Janus-Pro-1B", "Janus/Janus-Pro-1B", "Janus-Pro-1B"])
def test_folders_of_other_packs_are_offered_as_they_are(models: Path, place: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", models / place)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert loads(NAME) == folder
    assert loads(NAME, download=True) == folder
    assert list(installed()) == [NAME]
    assert paths.choices().count(NAME) == 1
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


@pytest.mark.parametrize("place", ["deepseek-ai", "LLM", "test_checkpoints", "LLM/deepseek-ai"])
def test_folders_shared_with_other_models_offer_only_januses(models: Path, place: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", models / place / NAME)
    copy_checkpoint("janus-pro-tiny", models / place / "DeepSeek-V2")
    copy_checkpoint("janus-pro-tiny", models / place / "other")
    style = copy_checkpoint("janus-pro-tiny", models / place / "a style named Janus")
    (style / "config.json").unlink()
    assert [*installed().values()] == [folder]
    assert loads(NAME) == folder


def test_folders_that_other_packs_register_are_searched(
    janus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, place in (("JanusPro", "one"), ("llm", "two"), ("custom_nodes", "three")):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, key, ([str(tmp_path / place)], set()))
        copy_checkpoint("janus-pro-tiny", tmp_path / place / f"Janus-{place}")
    assert list(installed()) == ["Janus-one", "Janus-two"]


def test_a_hub_cache_right_in_models_is_found(models: Path) -> None:
    snapshot = hub_cache(models)
    assert loads(NAME) == snapshot
    assert list(installed()) == ["deepseek-ai/Janus-Pro-1B"]


def test_a_complete_folder_comes_before_an_incomplete_one_of_its_name(
    models: Path, janus_folder: Path
) -> None:
    own = copy_checkpoint("janus-pro-tiny", janus_folder / NAME)
    other = copy_checkpoint("janus-pro-tiny", models / "Janus-Pro" / NAME)
    assert paths.find(NAME) == own
    (own / "tokenizer.json").unlink()
    assert paths.find(NAME) == other


def test_links_that_lead_back_up_add_no_names(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "a" / "mine")
    (janus_folder / "a" / "up").symlink_to(janus_folder, target_is_directory=True)
    assert list(installed()) == ["a/mine"]


def test_hidden_folders_stay_hidden_at_any_depth(janus_folder: Path) -> None:
    copy_checkpoint("janus-pro-tiny", janus_folder / "a" / "b" / ".c")
    copy_checkpoint("janus-pro-tiny", janus_folder / "a" / ".b" / "c")
    assert installed() == {}


@pytest.mark.parametrize("place", ["janus_loras", "loras", "Loras"])
def test_adapters_are_no_checkpoints(models: Path, place: str) -> None:
    folder = models / place / "Janus-Pro-1B_style"
    folder.mkdir(parents=True)
    for file in ("config.json", "adapter_config.json", "adapter_model.safetensors"):
        (folder / file).touch()
    (models / place / "janus_pro_1b_cats.safetensors").write_bytes(bytes(2_000_000))
    assert installed() == {}
    assert "got none there; turn on download" in refused(NAME)


@pytest.mark.parametrize("key", ["janus_loras", "loras"])
def test_registered_folders_of_adapters_are_skipped_wherever_they_are(
    models: Path, janus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    roots = [tmp_path / "Janus styles", janus_folder / "styles", models / "Janus-styles"]
    for root in roots:
        (root / "mine").mkdir(parents=True)
        (root / "mine" / "adapter_config.json").touch()
        (root / "one.safetensors").touch()
    (models / "Janus-link").symlink_to(roots[0], target_is_directory=True)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, key, ([*map(str, roots)], set()))
    found = installed()
    (models / "Janus-link").unlink()
    assert found == {}
