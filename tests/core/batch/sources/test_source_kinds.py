"""Sources: the same rows from every kind, found by what a path holds, and refused in one sentence."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, TextSampling, caption_folder
from janus_nodes.janus_core.batch.rows import Row
from janus_nodes.janus_core.batch.sources import open_source
from janus_nodes.janus_core.batch.sources.records import Columns, RecordReader
from janus_nodes.janus_core.batch.tasks import TASKS
from janus_nodes.janus_core.processing.image_files import read_image
from support.captioning import write_images

SCORE, DRAW, ASK = TASKS["score"], TASKS["draw"], TASKS["ask"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images, one of them in a subfolder, each with a caption."""
    folder = write_images(tmp_path / "set", 3)
    (folder / "sub").mkdir()
    (folder / "image_2.png").rename(folder / "sub" / "image_2.png")
    for number, name in enumerate(("image_0", "image_1", "sub/image_2")):
        (folder / f"{name}.txt").write_text(f"Caption {number}.\n", encoding="utf-8")
    return folder


def records(folder: Path) -> list[dict[str, Any]]:
    names = ("image_0.png", "image_1.png", "sub/image_2.png")
    return [{"file_name": name, "text": f"Caption {number}."} for number, name in enumerate(names)]


def write_jsonl(file: Path, lines: list[Any]) -> Path:
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return file


def write_parquet(file: Path, rows: list[dict[str, Any]], **how: Any) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, **how)
    return file


def write_tar(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def seen(rows: list[Row]) -> list[tuple[str, bytes]]:
    """Text and pixels of rows."""
    assert [row.problem for row in rows] == [""] * len(rows)
    return [
        (row.text, read_image(row.image).numpy().tobytes())
        for row in rows
        if isinstance(row.image, (bytes, Path))
    ]


def test_every_kind_gives_the_same_rows(images: Path, tmp_path: Path) -> None:
    contents = [(images / record["file_name"]).read_bytes() for record in records(images)]
    sources = {
        "folder": images,
        "jsonl": write_jsonl(images / "rows.jsonl", records(images)),
        "parquet": write_parquet(
            tmp_path / "a.parquet",
            [
                {"id": str(place), "text": record["text"], "image": {"bytes": content, "path": None}}
                for place, (record, content) in enumerate(zip(records(images), contents, strict=True))
            ],
        ),
        "tar": write_tar(
            tmp_path / "a.tar",
            {
                name: part
                for place, content in enumerate(contents)
                for name, part in (
                    (f"d/{place}.json", b'{"id": "x", "tokens": [1]}'),
                    (f"d/{place}.png", content),
                    (f"d/{place}.txt", f"Caption {place}.".encode()),
                )
            },
        ),
    }
    opened = {name: open_source(path, SCORE) for name, path in sources.items()}
    found = {name: list(source.rows()) for name, source in opened.items()}
    assert [source.count() for source in opened.values()] == [3, 3, 3, 3]
    expected = seen(found["folder"])
    assert len(expected) == 3 and all(seen(rows) == expected for rows in found.values())
    assert [row.id for row in found["folder"]] == [record["file_name"] for record in records(images)]
    assert [row.id for row in found["jsonl"]] == [record["file_name"] for record in records(images)]
    assert [row.id for row in found["parquet"]] == ["0", "1", "2"]
    assert [row.id for row in found["tar"]] == ["a.tar/d/0", "a.tar/d/1", "a.tar/d/2"]
    drawn = {name: [row.text for row in open_source(path, DRAW).rows()] for name, path in sources.items()}
    assert set(map(tuple, drawn.values())) == {("Caption 0.", "Caption 1.", "Caption 2.")}


def test_what_caption_folder_writes_is_read(pipe: JanusPipeline, images: Path) -> None:
    caption_folder(pipe, images, CaptionFolder(output="jsonl"), TextSampling(max_new_tokens=4))
    lines = (images / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    captions = {line["file_name"]: line["text"] for line in map(json.loads, lines)}
    for task in (SCORE, DRAW):
        rows = list(open_source(images, task).rows())
        assert {row.id: row.text for row in rows} == captions and len(rows) == 2
    assert len(list(open_source(images, TASKS["caption"], "What?").rows())) == 3


def test_paths_in_files_of_subfolders_are_relative_to_these(images: Path) -> None:
    write_jsonl(
        images / "sub" / "rows.jsonl", [{"file_name": "image_2.png"}, {"file_name": "../image_0.png"}]
    )
    rows = list(open_source(images, ASK, "What?", kind="jsonl").rows())
    assert rows[0] == Row("sub/image_2.png", "What?", images / "sub" / "image_2.png", "sub/image_2.png")
    assert "image must lie in" in rows[1].problem
    rows = list(open_source(images, ASK, "What?", kind="jsonl", image_folder=images).rows())
    assert rows[0].image == images / "image_2.png"


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "C:\\secret.png", "..\\secret.png", "link.png"]
)
def test_an_image_outside_of_the_folder_is_not_read(images: Path, name: str) -> None:
    (images.parent / "secret.png").write_bytes((images / "image_0.png").read_bytes())
    (images / "link.png").symlink_to(images.parent / "secret.png")
    write_jsonl(images / "rows.jsonl", [{"file_name": name}])
    (row,) = open_source(images / "rows.jsonl", ASK, "What?").rows()
    assert row.image is None and row.id == row.file_name == name
    assert row.problem.startswith(f"image must lie in {images}, got {name!r}; move it there")


def test_columns_can_have_any_name(images: Path) -> None:
    file = write_jsonl(images / "rows.jsonl", [{"a": 7, "b": "A fox.", "c": "image_1.png", "text": "no"}])
    (row,) = open_source(file, SCORE, columns=Columns("a", "b", "c")).rows()
    assert row == Row("7", "A fox.", images / "image_1.png", "image_1.png")


def test_lines_that_are_no_rows_say_so(images: Path) -> None:
    (images / "rows.jsonl").write_bytes(b'{"id": 1\n\n[1]\n\xff\xfe\n{"id": "a"}\n{"text": "\\ud800"}\n')
    rows = list(open_source(images / "rows.jsonl", SCORE).rows())
    problems = [row.problem for row in rows]
    assert all(problem.startswith("line must be a JSON object, got") for problem in problems[:3])
    assert problems[3] == "image or file_name must hold an image, got none; add it to the row"
    assert len({row.id for row in rows}) == len(rows) == 5


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"prompt": "\ud800"}, r"must hold Unicode text, got '\\ud800'; correct its characters"),
        ({"prompt": ["a", "b"]}, "must hold one text, got list of 2; make a row of each text"),
        ({"prompt": b"a"}, "must hold one text, got"),
        ({"prompt": "a", "image": "loop.png"}, "image must be readable, got 'loop.png'"),
        ({"prompt": "a", "image": "\0"}, r"image must be readable, got '\\x00'"),
        ({"prompt": "a", "image": "b.png", "key": ""}, "key must hold an id, got none; add it to the row"),
    ],
)
def test_a_record_that_is_no_row_says_why(tmp_path: Path, record: dict[str, Any], problem: str) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    reader = RecordReader(ASK, "", Columns("key" if "key" in record else ""), tmp_path)
    row = reader.row(record)
    # Newer Pythons resolve a link to itself; then the image cannot be read.
    assert re.search(problem, row.problem) or (row.image == tmp_path / "loop.png" and not row.problem)


def test_a_file_that_breaks_off_ends_with_a_row_that_says_so(images: Path, tmp_path: Path) -> None:
    content = (images / "image_0.png").read_bytes()
    whole = write_tar(tmp_path / "b.tar", {f"{number}.png": content for number in range(4)}).read_bytes()
    start = whole.index(b"2.png")
    # Of a sample before a broken header, more files may have followed.
    for broken, count in ((whole[: start + 600], 2), (whole[:start] + b"x" * 512 + whole[start + 512 :], 1)):
        (tmp_path / "a.tar").write_bytes(broken)
        source = open_source(tmp_path, TASKS["encode"])
        rows = list(source.rows())
        ids = [f"a.tar/{number}" for number in range(count)]
        assert [row.id for row in rows] == [*ids, "a.tar", *(f"b.tar/{number}" for number in range(4))]
        assert rows[count].problem.startswith("file must be complete, got: ") and source.count() == len(rows)
        assert not any(row.problem for row in rows if row.id != "a.tar")


def test_a_parquet_file_that_breaks_off_ends_with_a_row_that_says_so(tmp_path: Path) -> None:
    rows = [{"id": f"{number}", "text": f"{number} fox" * 50} for number in range(200)]
    plain = {"row_group_size": 100, "compression": "none", "use_dictionary": False}
    content = bytearray(write_parquet(tmp_path / "a.parquet", rows, **plain).read_bytes())
    middle = content.index(b"150 fox") - 200
    content[middle : middle + 400] = b"\xff" * 400
    (tmp_path / "a.parquet").write_bytes(content)
    write_parquet(tmp_path / "b.parquet", [{"id": "last", "text": "fox"}])
    read = list(open_source(tmp_path, DRAW).rows())
    assert read[0].id == "0" and [row.id for row in read[-2:]] == ["a.parquet", "last"]
    assert [row.problem[:28] for row in read if row.problem] == ["file must be complete, got: "]


def test_pixels_are_taken_as_they_are() -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    row = RecordReader(TASKS["encode"], "", Columns(), None).row({"image": pixels})
    assert row.image is pixels and len(row.id) == 32
    assert "image must hold the content of a file" in (
        RecordReader(TASKS["encode"], "", Columns(), None).row({"image": "a.png"}).problem
    )


def test_a_source_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    def refused(path: Path, **more: Any) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            open_source(path, SCORE, **more)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "source must exist, got" in refused(tmp_path / "none")
    assert "folder must hold images, got none" in refused(tmp_path)
    assert "source must hold .tar files, got none" in refused(tmp_path, kind="tar")
    assert "image_folder must be a folder" in refused(tmp_path, image_folder=tmp_path / "none")
    (tmp_path / "a.csv").write_text("a,b", encoding="utf-8")
    assert "must be a folder, or end in .jsonl or .parquet or .tar" in refused(tmp_path / "a.csv")
    (tmp_path / "a.tar").write_bytes(b"no tar")
    assert "source must be readable" in refused(tmp_path / "a.tar")
    pytest.importorskip("pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    assert "source must be readable" in refused(tmp_path / "a.parquet")
    assert "source must hold files of one kind, got parquet, tar" in refused(tmp_path)


def test_hidden_files_are_not_read(images: Path) -> None:
    write_jsonl(images / "sub" / ".part-1.jsonl.partial", [{"id": "half"}])
    write_jsonl(images / "sub" / ".rows.jsonl", [{"id": "hidden"}])
    write_jsonl(images / "ROWS.JSONL", records(images)[:1])  # the case of endings does not matter
    assert open_source(images, SCORE, kind="jsonl").count() == 1
