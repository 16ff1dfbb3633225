"""Downloads, from a hub on this machine that serves the golden checkpoint as a release."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import comfy.model_management as mm
import comfy.utils
import pytest
from huggingface_hub import constants
from janus_nodes.janus_core import RELEASES, JanusPipeline, TextSampling
from janus_nodes.nodes.download import download_release
from janus_nodes.nodes.load import JanusLoad
from janus_nodes.nodes.paths import BUILT_IN
from support.checkpoints import copy_checkpoint, single_file_checkpoint
from support.fake_hub import CHUNK, FakeHub

NAME = "Janus-Pro-1B"
RELEASE = RELEASES[NAME]
LAST_FILE = "model-00002-of-00002.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The golden checkpoint as a release, with files beside it that are of no use here."""
    repository = copy_checkpoint("janus-pro-tiny", tmp_path / "repository")
    (repository / "README.md").write_text("A card.", encoding="utf-8")
    (repository / "modeling.py").write_text("import nothing", encoding="utf-8")
    (repository / "images").mkdir()
    # Pieces as small as a real connection's are to a real checkpoint.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    port = int(os.environ["HF_ENDPOINT"].rpartition(":")[2])
    with FakeHub(repository, RELEASE.repo_id, RELEASE.revision, port) as running:
        yield running


@pytest.fixture
def on_progress() -> Iterator[Callable[[Callable[[int, int], None]], None]]:
    """Lets a test see the progress of a node."""

    def watch(function: Callable[[int, int], None]) -> None:
        comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: function(value, total))

    yield watch
    comfy.utils.set_progress_bar_global_hook(None)


def wanted(hub: FakeHub) -> dict[str, bytes]:
    """What a download brings, by name."""
    files = (path for path in hub.folder.iterdir() if path.suffix in (".json", ".safetensors"))
    return {path.name: path.read_bytes() for path in files}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(download: bool) -> JanusPipeline:
    output = JanusLoad.execute(NAME, "fp32", "auto", download=download, convert_bin=False)
    return output.args[0].pipeline


def test_nothing_is_requested_with_download_off(hub: FakeHub, janus_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="turn on download on the Load node"):
        load(download=False)
    assert hub.requests == []
    assert list(janus_folder.iterdir()) == []


def test_release_is_fetched_at_its_pinned_revision_and_loads(
    hub: FakeHub, janus_folder: Path, core: JanusPipeline
) -> None:
    pipeline = load(download=True)
    assert contents(janus_folder / NAME) == wanted(hub)
    asked = [path for path, _ in hub.requests if RELEASE.repo_id in path]
    assert len(asked) == len(wanted(hub)) + 1
    assert all(RELEASE.revision in path for path in asked)
    assert pipeline.understand(None, "Who?", TextSampling(max_new_tokens=8)) == core.understand(
        None, "Who?", TextSampling(max_new_tokens=8)
    )


def test_built_in_checkpoint_sends_no_request(hub: FakeHub, janus_folder: Path) -> None:
    download_release(BUILT_IN)
    assert hub.requests == []
    assert list(janus_folder.iterdir()) == []


def test_second_run_sends_no_request(hub: FakeHub, janus_folder: Path) -> None:
    load(download=True)
    hub.requests.clear()
    load(download=True)
    assert hub.requests == []


def test_progress_counts_the_bytes_up_to_all_of_them(
    hub: FakeHub, janus_folder: Path, on_progress: Callable[..., None]
) -> None:
    seen: list[tuple[int, int]] = []
    on_progress(lambda value, total: seen.append((value, total)))
    download_release(NAME)
    size = sum(map(len, wanted(hub).values()))
    values = [value for value, _ in seen]
    assert {total for _, total in seen} == {size}
    assert values == sorted(values)
    assert values[-1] == size
    assert len(values) > size / CHUNK / 2


def test_cancelled_download_stops_at_once_and_continues_in_the_next_run(
    hub: FakeHub, janus_folder: Path, on_progress: Callable[..., None], no_interrupt: None
) -> None:
    size = sum(map(len, wanted(hub).values()))
    reached: list[int] = []

    def cancel_near_the_end(value: int, total: int) -> None:
        reached.append(value)
        if value > 0.8 * size:
            mm.interrupt_current_processing()

    on_progress(cancel_near_the_end)
    with pytest.raises(mm.InterruptProcessingException):
        download_release(NAME)
    assert reached[-1] < 0.8 * size + 2 * CHUNK
    kept = contents(janus_folder / NAME)
    (partial,) = [name for name in kept if name.endswith(".partial")]
    assert partial.startswith(LAST_FILE)
    assert wanted(hub)[LAST_FILE].startswith(kept[partial])
    with pytest.raises(FileNotFoundError, match=LAST_FILE):
        load(download=False)

    on_progress(lambda value, total: None)
    hub.requests.clear()
    load(download=True)
    assert contents(janus_folder / NAME) == wanted(hub)
    asked = [(path.rpartition("/")[2], span) for path, span in hub.requests]
    assert asked == [(RELEASE.revision, ""), (LAST_FILE, f"bytes={len(kept[partial])}-")]


def test_complete_file_that_was_not_renamed_yet_is_used(hub: FakeHub, janus_folder: Path) -> None:
    download_release(NAME)
    file = janus_folder / NAME / LAST_FILE
    file.rename(file.with_name(f"{LAST_FILE}.{RELEASE.revision[:8]}.partial"))
    download_release(NAME)
    assert contents(janus_folder / NAME) == wanted(hub)


def test_partial_file_that_is_too_long_is_downloaded_again(hub: FakeHub, janus_folder: Path) -> None:
    partial = janus_folder / NAME / f"{LAST_FILE}.{RELEASE.revision[:8]}.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"x" * 3_000_000)
    download_release(NAME)
    assert contents(janus_folder / NAME) == wanted(hub)


def test_lost_connection_is_resumed(hub: FakeHub, janus_folder: Path) -> None:
    lost: list[str] = []

    def once(name: str, sent: int) -> bool:
        if name == LAST_FILE and sent > 10 * CHUNK and not lost:
            lost.append(name)
            return True
        return False

    hub.break_off = once
    download_release(NAME)
    assert lost
    assert contents(janus_folder / NAME) == wanted(hub)


def test_missing_files_are_added_and_existing_ones_kept(hub: FakeHub, janus_folder: Path) -> None:
    folder = janus_folder / NAME
    shutil.copytree(hub.folder, folder, ignore=shutil.ignore_patterns(LAST_FILE, "tokenizer.json", "images"))
    own = (folder / "config.json").read_text(encoding="utf-8") + "\n"
    (folder / "config.json").write_text(own, encoding="utf-8")
    download_release(NAME)
    assert (folder / "config.json").read_text(encoding="utf-8") == own
    assert {
        name: data for name, data in contents(folder).items() if name in (LAST_FILE, "tokenizer.json")
    } == {name: data for name, data in wanted(hub).items() if name in (LAST_FILE, "tokenizer.json")}


@pytest.mark.parametrize("weights", ["model.safetensors", "Janus-Pro-1B.safetensors"])
def test_weights_that_are_there_are_not_downloaded_again(
    hub: FakeHub, janus_folder: Path, tmp_path: Path, weights: str
) -> None:
    single_file_checkpoint(tmp_path / "single")
    (janus_folder / NAME).mkdir()
    (tmp_path / "single" / "model.safetensors").rename(janus_folder / NAME / weights)
    load(download=True)
    assert all(name.endswith(".json") for name in contents(janus_folder / NAME) if name != weights)


@pytest.mark.parametrize("place", ["deepseek-ai/Janus-Pro-1B", "a/Janus-Pro/janus-pro-1b"])
def test_a_release_in_another_folder_sends_no_request(hub: FakeHub, janus_folder: Path, place: str) -> None:
    folder = copy_checkpoint("janus-pro-tiny", janus_folder / place)
    assert load(download=True).folder == folder
    assert hub.requests == []


def test_a_fine_tune_of_the_same_name_is_not_completed_with_the_release(
    hub: FakeHub, janus_folder: Path
) -> None:
    folders = [copy_checkpoint("janus-pro-tiny", janus_folder / owner / NAME) for owner in ("one", "two")]
    (folders[0] / "config.json").unlink()
    before = [contents(folder) for folder in folders]
    assert load(download=True).folder == janus_folder / NAME
    assert [contents(folder) for folder in folders] == before


@pytest.mark.parametrize("name", ["sdxl.safetensors", "model.safetensors", "Janus-Pro-7B.safetensors"])
def test_loose_files_of_other_models_do_not_stop_a_download(
    hub: FakeHub, janus_folder: Path, name: str
) -> None:
    (janus_folder / name).write_bytes(bytes(2_000_000))
    assert load(download=True).folder == janus_folder / NAME


def test_other_spellings_of_a_release_are_downloaded_under_its_name(hub: FakeHub, janus_folder: Path) -> None:
    download_release("janus-pro-1b/")
    assert contents(janus_folder / NAME) == wanted(hub)


def test_error_names_the_release_and_the_fix(hub: FakeHub, janus_folder: Path) -> None:
    hub.repo_id = "somebody/else"
    message = rf"{NAME} must be downloadable from huggingface.co/{RELEASE.repo_id}, got: .*404.*; run again"
    with pytest.raises(RuntimeError, match=message):
        download_release(NAME)


def test_other_names_are_refused_without_a_request(hub: FakeHub, janus_folder: Path) -> None:
    for name in ("deepseek-ai/Janus-Pro-1B", "../Janus-Pro-1B", "mine", ""):
        with pytest.raises(ValueError, match="download must be off for checkpoints other than Janus-Pro-1B"):
            JanusLoad.execute(name, "fp32", "auto", download=True, convert_bin=False)
    assert hub.requests == []
    assert list(janus_folder.iterdir()) == []
