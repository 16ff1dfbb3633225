"""Outputs: each is complete or absent, and says which rows it holds."""

from __future__ import annotations

import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from janus_nodes.janus_core.batch.rows import Result, digest
from janus_nodes.janus_core.batch.sinks import Sink, open_sink
from janus_nodes.janus_core.batch.sinks.files import picture_name
from janus_nodes.janus_core.batch.sinks.jsonl import JSONL
from janus_nodes.janus_core.batch.sinks.parquet import PARQUET
from janus_nodes.janus_core.batch.sinks.parts import Parts
from janus_nodes.janus_core.batch.sinks.tar import TAR
from janus_nodes.janus_core.batch.sources import open_source
from janus_nodes.janus_core.batch.tasks import TASKS
from PIL import Image
from support.captioning import write_images

DRAW = TASKS["draw"]
FORMS = pytest.mark.parametrize("form", [JSONL, PARQUET, TAR], ids=lambda form: form.ending)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def drawn(row_id: str, error: str | None = None, **more: Any) -> Result:
    values = dict.fromkeys(("id", *DRAW.columns, "error")) | {"id": row_id, "error": error}
    return values if error else values | {"text": f"of {row_id}", "seed": 2**32, "tokens": [1, 2], **more}


def parts(folder: Path, form: Any) -> Parts:
    if form is PARQUET:
        pytest.importorskip("pyarrow")
    folder.mkdir(exist_ok=True)
    return Parts(folder, form, DRAW.columns)


@FORMS
def test_what_is_written_is_read_again(tmp_path: Path, form: Any) -> None:
    image = {} if form is JSONL else {"image": png(7)}
    sink = parts(tmp_path, form)
    results = [
        drawn("a/b.c", **image),
        drawn("ü\udc80" if form is JSONL else "ü"),
        drawn("x", "it is broken"),
    ]
    sink.write(3, results)
    assert sink.done() == {digest(result["id"]) for result in results}
    (file,) = sink.files()
    assert file.name.startswith("part-00000003-")
    read = [
        {name: value for name, value in result.items() if value is not None} for result in form.read(file)
    ]
    expected = [{name: value for name, value in each.items() if value is not None} for each in results]
    assert read == expected


@FORMS
def test_the_same_part_is_the_same_file(tmp_path: Path, form: Any) -> None:
    sink = parts(tmp_path, form)
    sink.write(0, [drawn("a"), drawn("b")])
    (file,) = sink.files()
    content = file.read_bytes()
    sink.write(0, [drawn("a"), drawn("b")])
    assert sink.files() == [file] and file.read_bytes() == content
    sink.write(0, [drawn("c")])
    assert len(sink.files()) == 2


@FORMS
def test_what_a_killed_run_left_is_no_part(
    tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = parts(tmp_path, form)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        sink.write(0, [drawn("a")])
    (tmp_path / f".part-00000000-x{form.ending}.partial").write_bytes(b"torn")
    assert sink.files() == [] and sink.done() == set()


@FORMS
def test_rows_that_failed_can_be_dropped(tmp_path: Path, form: Any) -> None:
    sink = parts(tmp_path, form)
    sink.write(0, [drawn("a"), drawn("b", "broken")])
    sink.write(1, [drawn("c", "broken")])
    sink.write(2, [drawn("d")])
    assert sink.drop_failed() == 2
    assert sink.done() == {digest("a"), digest("d")} and len(sink.files()) == 2
    sink.write(0, [drawn("b")])
    assert sink.done() == {digest("a"), digest("b"), digest("d")}


@FORMS
def test_ids_may_hold_bytes_of_file_names(tmp_path: Path, form: Any) -> None:
    sink = parts(tmp_path, form)
    sink.write(0, [drawn("\udcff.png", file_name="\udcff.png"), drawn("\ud800", "broken")])
    assert sink.done() == {digest("\udcff.png"), digest("\ud800")}


def test_a_part_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "part-00000000-x.jsonl").write_bytes(b'{"id": "a"}\n{"id')
    with pytest.raises(ValueError, match=r"output must hold parts that can be read, got .*part-00000000-x"):
        Parts(tmp_path, JSONL, DRAW.columns).done()


def test_drawings_are_files_with_their_prompts_and_a_line(tmp_path: Path) -> None:
    sink: Sink = open_sink(tmp_path, "png", DRAW)
    sink.write(0, [drawn("fox", image=png(1)), drawn("../a/fox.jpg", image=png(2)), drawn("x", "broken")])
    names = {path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".txt")}
    other = picture_name("../a/fox.jpg")
    assert names == {"fox.png", "fox.txt", other, other.replace(".png", ".txt")}
    assert (tmp_path / "fox.png").read_bytes() == png(1)
    assert (tmp_path / "fox.txt").read_text(encoding="utf-8") == "of fox\n"
    (file,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line.get("file_name") for line in lines] == ["fox.png", other, None]
    assert sink.done() == {digest("fox"), digest("../a/fox.jpg"), digest("x")}
    # The folder is a source again: of texts and images.
    rows = list(open_source(tmp_path, TASKS["score"]).rows())
    assert sorted((row.id, row.text) for row in rows) == sorted(
        [("fox.png", "of fox"), (other, "of ../a/fox.jpg")]
    )


@pytest.mark.parametrize(
    "row_id", ["../../x", "/etc/x", "a\\b", "..", ".hidden", "a\nb", "con:", "", "é" * 90, "𠀀" * 90, "a.png"]
)
def test_ids_make_safe_names(tmp_path: Path, row_id: str) -> None:
    name = picture_name(row_id)
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    assert not name.startswith((".", "-")) and len(name.encode()) < 250
    assert picture_name("fox") == "fox.png" != picture_name("fox.png")


def test_names_differ_where_case_and_forms_of_unicode_do_not_count() -> None:
    ids = ["fox 1", "Fox 1", "FOX 1", "\u00e9", "e\u0301", "\u00c9", "ss", "ß"]
    names = {unicodedata.normalize("NFC", picture_name(each)).casefold() for each in ids}
    assert len(names) == len(ids)
    assert [picture_name(each) for each in ("fox 1", "\u00e9")] == ["fox 1.png", "\u00e9.png"]


def test_captions_lie_beside_their_images(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", 3)
    Image.new("RGB", (4, 4)).save(folder / "image_1.jpg")  # would share the caption of image_1.png
    (folder / "image_0.txt").write_text("by hand", encoding="utf-8")
    source = open_source(folder, TASKS["caption"])
    sink = open_sink(folder, "txt", TASKS["caption"], source)
    assert sink.done() == {digest("image_0.png")}
    assert sink.refused("image_2.png") == ""
    reason = sink.refused("image_1.png")
    assert "its name must differ from others in more than its extension" in reason
    sink.write(
        0,
        [
            {"id": "image_2.png", "text": "A fox.", "error": None},
            {"id": "image_1.png", "text": None, "error": reason},
        ],
    )
    assert (folder / "image_2.txt").read_text(encoding="utf-8") == "A fox.\n"
    assert sink.done() == {digest(f"image_{number}.png") for number in range(3)}
    assert sink.drop_failed() == 1 and digest("image_1.png") not in sink.done()


def test_formats_are_those_of_the_task(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="format must be one of png, tar, parquet for this task, got 'jsonl'"
    ):
        open_sink(tmp_path, "jsonl", DRAW)
    with pytest.raises(ValueError, match="not a local folder of images, got 'txt'"):
        open_sink(tmp_path, "txt", TASKS["ask"])
