"""Captioning a folder: each image exactly once, and nothing is lost by an interruption."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, TextSampling, caption_folder
from janus_nodes.janus_core.captioning import folder as folder_module
from janus_nodes.janus_core.pipeline.answer import Answer
from janus_nodes.janus_core.processing.image_files import read_image
from PIL import Image
from support.captioning import write_images
from support.parametrize import slow_except

SHORT = TextSampling(max_new_tokens=6)
VARIED = TextSampling(max_new_tokens=6, temperature=1.3, seed=5)
QUESTION = "Describe the image in detail."
OUTPUTS = pytest.mark.parametrize("output", ["txt", "jsonl"])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of five images of different sizes."""
    return write_images(tmp_path / "set", 5)


def captions(folder: Path, output: str) -> dict[str, str]:
    """The captions on disk, by image."""
    if output == "jsonl":
        lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines]
        assert len({entry["file_name"] for entry in entries}) == len(entries)
        return {entry["file_name"]: entry["text"] for entry in entries}
    found = {}
    for file in folder.rglob("*.txt"):
        text = file.read_text(encoding="utf-8")
        assert text.endswith("\n")
        found[file.with_suffix(".png").relative_to(folder).as_posix()] = text[:-1]
    return found


def expected(pipe: JanusPipeline, folder: Path, sampling: TextSampling = SHORT) -> dict[str, str]:
    """The captions that result if each image is captioned alone."""
    found = {}
    for row, file in enumerate(sorted(folder.glob("*.png"))):
        (answer,) = pipe.understand(read_image(file), QUESTION, sampling, rows=[row])
        found[file.name] = " ".join(answer.split())
    return found


@pytest.mark.parametrize(
    ("output", "sampling"),
    slow_except(product(("txt", "jsonl"), (SHORT, VARIED)), ("txt", SHORT), ("jsonl", VARIED)),
)
def test_each_image_gets_its_own_answer(
    pipe: JanusPipeline, images: Path, output: str, sampling: TextSampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "max_batch_size", 2)
    report = caption_folder(pipe, images, CaptionFolder(output=output), sampling)
    assert (report.done, report.skipped, report.failed) == (5, 0, {})
    assert report.text.splitlines()[0] == "5 captioned, 0 had a caption, 0 failed"
    assert captions(images, output) == expected(pipe, images, sampling)
    assert not list(images.glob(".*"))


@OUTPUTS
def test_existing_captions_are_skipped_and_the_rest_is_as_in_one_run(
    pipe: JanusPipeline, images: Path, output: str
) -> None:
    whole = expected(pipe, images, VARIED)
    later = {name: (images / name).read_bytes() for name in ("image_1.png", "image_3.png")}
    for name in later:
        (images / name).write_bytes(b"")  # no image yet
    options = CaptionFolder(output=output)
    first = caption_folder(pipe, images, options, VARIED)
    assert (first.done, first.skipped, sorted(first.failed)) == (3, 0, sorted(later))
    for name, content in later.items():
        (images / name).write_bytes(content)
    second = caption_folder(pipe, images, options, VARIED)
    assert (second.done, second.skipped, second.failed) == (2, 3, {})
    assert captions(images, output) == whole
    third = caption_folder(pipe, images, options, VARIED)
    assert (third.done, third.skipped, third.failed) == (0, 5, {})


@OUTPUTS
def test_existing_captions_are_kept_unless_overwriting(
    pipe: JanusPipeline, images: Path, output: str
) -> None:
    if output == "txt":
        (images / "image_2.txt").write_text("By hand.\n", encoding="utf-8")
    else:
        line = json.dumps({"file_name": "image_2.png", "text": "By hand.", "more": 1})
        (images / "metadata.jsonl").write_text(f"{line}\n", encoding="utf-8")
    report = caption_folder(pipe, images, CaptionFolder(output=output), SHORT)
    assert (report.done, report.skipped) == (4, 1)
    found = captions(images, output)
    assert found == {**expected(pipe, images), "image_2.png": "By hand."}
    report = caption_folder(pipe, images, CaptionFolder(output=output, existing="replace"), SHORT)
    assert (report.done, report.skipped) == (5, 0)
    assert captions(images, output) == expected(pipe, images)


def test_prefix_and_suffix_are_put_around_one_line_captions(
    pipe: JanusPipeline, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe.__class__, "understand", lambda *_, **__: [Answer("  A cat,\n\na  dog. ")] * 5)
    caption_folder(pipe, images, CaptionFolder(prefix="ohwx, ", suffix=", photo"), SHORT)
    assert set(captions(images, "txt").values()) == {"ohwx, A cat, a dog., photo"}


@OUTPUTS
def test_an_empty_answer_is_reported_and_not_written(
    pipe: JanusPipeline, images: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    answers = [Answer(text) for text in ("A cat.", " \n", "x", "y", "z")]
    monkeypatch.setattr(pipe.__class__, "understand", lambda *_, **__: answers)
    report = caption_folder(pipe, images, CaptionFolder(output=output, prefix="ohwx"), SHORT)
    assert report.done == 4
    assert report.failed == {"image_1.png": "its caption must hold text, got none; ask another question"}
    assert "image_1.png" not in captions(images, output)


@OUTPUTS
def test_subfolders_are_included_only_on_request(pipe: JanusPipeline, images: Path, output: str) -> None:
    write_images(images / "more" / "deep", 2)
    write_images(images / ".hidden", 1)
    assert caption_folder(pipe, images, CaptionFolder(output=output), SHORT).done == 5
    report = caption_folder(pipe, images, CaptionFolder(output=output, subfolders=True), SHORT)
    assert (report.done, report.skipped) == (2, 5)
    assert {"more/deep/image_0.png", "more/deep/image_1.png"} < captions(images, output).keys()


def test_a_damaged_file_is_reported_and_the_others_captioned(pipe: JanusPipeline, images: Path) -> None:
    whole = (images / "image_0.png").read_bytes()
    (images / "image_0.png").write_bytes(whole[:60])
    (images / "notes.png").write_text("no image", encoding="utf-8")
    (images / "empty.jpg").touch()
    report = caption_folder(pipe, images, None, SHORT)
    assert report.done == 4
    assert sorted(report.failed) == ["empty.jpg", "image_0.png", "notes.png"]
    assert report.failed["notes.png"].startswith("image must be readable, got: cannot identify")
    assert report.text.splitlines()[0] == "4 captioned, 0 had a caption, 3 failed"
    assert "notes.png: image must be readable" in report.text


def test_names_that_share_a_text_file_are_refused_and_the_others_captioned(
    pipe: JanusPipeline, images: Path
) -> None:
    (images / "image_1.png").rename(images / "IMAGE_0.PNG")
    Image.open(images / "image_2.png").convert("RGB").save(images / "image_2.jpg")
    (images / "image_2.txt").write_text("By hand.\n", encoding="utf-8")
    for existing in ("skip", "replace"):
        report = caption_folder(pipe, images, CaptionFolder(existing=existing), SHORT)
        assert (report.done, report.skipped) == (2, 0)
        assert sorted(report.failed) == ["IMAGE_0.PNG", "image_0.png", "image_2.jpg", "image_2.png"]
        assert report.failed["image_2.png"] == (
            "its name must differ from others in more than its extension, got image_2.jpg, image_2.png, "
            "which would share image_2.txt; rename them, or name all but one in skip"
        )
        for name in ("image_3.txt", "image_4.txt"):
            (images / name).unlink()
    assert (images / "image_2.txt").read_text(encoding="utf-8") == "By hand.\n"
    # In one file for all they do not meet.
    assert caption_folder(pipe, images, CaptionFolder(output="jsonl"), SHORT).done == 6


def test_images_are_read_one_batch_at_a_time(
    pipe: JanusPipeline, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "max_batch_size", 2)
    order: list[str] = []
    monkeypatch.setattr(
        folder_module, "read_image", lambda path, _: order.append(f"read {path.name[6]}") or read_image(path)
    )
    caption_folder(pipe, images, None, SHORT, on_image=lambda done, total: order.append(f"{done} of {total}"))
    reads = ["read 0", "read 1", "2 of 5", "read 2", "read 3", "4 of 5", "read 4", "5 of 5"]
    assert order == reads


@OUTPUTS
def test_steps_count_as_one_run_and_a_cancelled_run_is_completed_by_the_next(
    pipe: JanusPipeline, images: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    class Cancelled(BaseException):
        pass

    monkeypatch.setattr(pipe, "max_batch_size", 2)
    seen: list[tuple[int, int]] = []

    def cancel(step: int, total: int, tokens: Any) -> None:
        seen.append((step, total))
        if step > 8:
            raise Cancelled

    with pytest.raises(Cancelled):
        caption_folder(pipe, images, CaptionFolder(output=output), SHORT, on_step=cancel)
    assert {total for _, total in seen} == {18}  # three times six tokens
    assert sorted(captions(images, output)) == ["image_0.png", "image_1.png"]
    assert caption_folder(pipe, images, CaptionFolder(output=output), SHORT).done == 3
    assert captions(images, output) == expected(pipe, images)
