"""Janus Caption Folder: accessible folders, widgets, displayed text and cancelling."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management as mm
import comfy.utils
import folder_paths
import pytest
from comfy_api.latest import io
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, TextSampling, caption_folder
from janus_nodes.nodes.caption_folder import JanusCaptionFolder
from janus_nodes.nodes.memory import LoadedJanus
from PIL import Image
from support.captioning import write_images
from support.node_runs import run, run_and_show, widgets

CAPTION = {
    "location": "output",
    "folder": "other",
    "subfolders": True,
    "task": "list of tags",
    "question": "Who is this?",
    "output": "jsonl",
    "overwrite": True,
    "add_to_existing": "append",
    "skip": "*_0.*",
    "background": "white",
    "prefix": "ohwx, ",
    "suffix": ", photo",
    "max_new_tokens": 3,
    "temperature": 0.0,
    "seed": 2**64 - 1,
    "top_k": 1,
    "top_p": 0.01,
    "min_p": 1.0,
    "repetition_penalty": 2.0,
}
BASE = {"folder": "set", "max_new_tokens": 24, "temperature": 1.0}


@pytest.fixture
def janus(loaded: LoadedJanus, sent: list[tuple[str, str]]) -> LoadedJanus:
    """The golden checkpoint, with a server that takes the streamed text."""
    return loaded


@pytest.fixture
def folders() -> Iterator[Path]:
    """ComfyUI's input folder with images in `set` and `other`, and its output folder with others in `set`."""
    roots = [Path(folder_paths.get_input_directory()), Path(folder_paths.get_output_directory())]
    for root in roots:
        root.mkdir(parents=True, exist_ok=True)
    places = [roots[0] / "set", roots[0] / "other", roots[1] / "set"]
    for count, place in enumerate(places, start=2):
        write_images(place, count)
    write_images(roots[0] / "set" / "more", 1)
    (roots[0] / "set" / "image_1.txt").write_text("By hand.\n", encoding="utf-8")
    yield roots[0]
    for place in places:
        shutil.rmtree(place)


def written() -> dict[str, str]:
    """Everything that captions consist of, by its path."""
    return {
        str(file): file.read_text(encoding="utf-8")
        for root in (folder_paths.get_input_directory(), folder_paths.get_output_directory())
        for ending in ("*.txt", "*.jsonl")
        for file in Path(root).rglob(ending)
    }


def caption(janus: LoadedJanus, folders: Path, **inputs: Any) -> dict[str, str]:
    """What a run writes; all of it is removed again, but for the caption by hand."""
    before = written()
    run(JanusCaptionFolder, model=janus, **{**BASE, **inputs})
    after = written()
    for file in after.keys() - before.keys():
        Path(file).unlink()
    for file, content in before.items():
        Path(file).write_text(content, encoding="utf-8")
    return after


def test_every_widget_is_tried() -> None:
    assert widgets(JanusCaptionFolder).keys() == CAPTION.keys()


@pytest.mark.parametrize("widget", CAPTION)
def test_each_widget_changes_what_is_written(janus: LoadedJanus, folders: Path, widget: str) -> None:
    # Greedy answers of a model with random weights go in circles, so that there is something to penalise.
    base = {"temperature": 0.0, "max_new_tokens": 64} if widget == "repetition_penalty" else {}
    if widget == "background":
        Image.new("RGBA", (9, 8)).save(folders / "set" / "image_0.png")
    before = caption(janus, folders, **base)
    assert caption(janus, folders, **base) == before
    assert caption(janus, folders, **base | {widget: CAPTION[widget]}) != before


def test_captions_are_the_core_s(
    janus: LoadedJanus, core: JanusPipeline, folders: Path, tmp_path: Path
) -> None:
    done, skipped, failed, report = run(JanusCaptionFolder, model=janus, **BASE)
    assert (done, skipped, failed) == (1, 1, 0)
    assert report.splitlines()[0] == "1 captioned, 1 had a caption, 0 failed"
    write_images(tmp_path / "set", 2)
    sampling = TextSampling(max_new_tokens=24, temperature=1.0)
    caption_folder(core, tmp_path / "set", CaptionFolder(), sampling)
    found = (folders / "set" / "image_0.txt").read_text(encoding="utf-8")
    assert found == (tmp_path / "set" / "image_0.txt").read_text(encoding="utf-8")


def test_a_workflow_saved_before_widgets_were_added_runs_as_it_did(janus: LoadedJanus, folders: Path) -> None:
    added = {"add_to_existing", "skip", "background"}
    assert [*widgets(JanusCaptionFolder)][-len(added) :] == [
        entry.id for entry in JanusCaptionFolder.define_schema().inputs if entry.optional
    ]
    node = JanusCaptionFolder.PREPARE_CLASS_CLONE(None)
    node.hidden = io.HiddenHolder.from_dict({io.Hidden.unique_id: "1"})
    former = {name: value for name, value in widgets(JanusCaptionFolder).items() if name not in added}
    assert node.EXECUTE_NORMALIZED(model=janus, **former | BASE).args[:3] == (1, 1, 0)
    assert (folders / "set" / "image_1.txt").read_text(encoding="utf-8") == "By hand.\n"


def test_add_to_existing_and_overwrite_contradict_each_other(janus: LoadedJanus, folders: Path) -> None:
    before = written()
    with pytest.raises(ValueError, match=r"^add_to_existing must be off while overwrite is on, got 'append'"):
        run(JanusCaptionFolder, model=janus, **BASE, overwrite=True, add_to_existing="append")
    with pytest.raises(ValueError, match=r"^add_to_existing must be one of off, append, prepend, got .ins"):
        run(JanusCaptionFolder, model=janus, **BASE, add_to_existing="insert")
    assert written() == before


def test_lines_name_images_of_subfolders(janus: LoadedJanus, folders: Path) -> None:
    run(JanusCaptionFolder, model=janus, **BASE, output="jsonl", subfolders=True)
    lines = (folders / "set" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    names = [json.loads(line)["file_name"] for line in lines]
    assert names == ["image_0.png", "image_1.png", "more/image_0.png"]


def test_node_runs_every_time() -> None:
    assert math.isnan(JanusCaptionFolder.fingerprint_inputs(folder="set"))


def test_report_is_shown_with_what_failed(janus: LoadedJanus, folders: Path) -> None:
    (folders / "set" / "image_0.png").write_bytes(b"no image")
    (*counts, report), shown = run_and_show(JanusCaptionFolder, model=janus, **BASE)
    assert counts == [0, 1, 1]
    assert "image_0.png: image must be readable, got:" in report
    assert shown == {"text": (report,)}


def test_interrupt_stops_within_a_caption_and_the_next_run_goes_on(
    janus: LoadedJanus, folders: Path, no_interrupt: None, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(janus.pipeline, "max_batch_size", 1)

    def interrupt(value: int, *_: object, **__: object) -> None:
        if value == 30:  # the sixth token of the second image
            mm.interrupt_current_processing()

    comfy.utils.set_progress_bar_global_hook(interrupt)
    with pytest.raises(mm.InterruptProcessingException):
        run(JanusCaptionFolder, model=janus, **{**BASE, "folder": "other", "temperature": 0.0})
    assert [file.name for file in (folders / "other").glob("*.txt")] == ["image_0.txt"]
    comfy.utils.set_progress_bar_global_hook(None)
    assert run(JanusCaptionFolder, model=janus, **{**BASE, "folder": "other"})[:3] == (2, 1, 0)
