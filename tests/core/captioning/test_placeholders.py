"""Placeholders in questions, prefixes and suffixes.

Asked for in other programs: jhc13/taggui#387 and vladmandic/sdnext#4674 (texts in image files).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core import CaptionFolder, JanusPipeline, caption_folder
from janus_nodes.janus_core.captioning.placeholders import Placeholders
from janus_nodes.janus_core.pipeline.answer import Answer
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def image(path: Path, description: str = "") -> Path:
    info = PngInfo()
    if description:
        info.add_text("Description", description)
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (9, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{filename}, ", "my.photo_1, "),
        ("{folder}/{filename}: {filename}", "ohwx dog/my.photo_1: my.photo_1"),
        ("{metadata}", "a {filename} of it"),  # what is put in is not filled in again
        ("{ filename } {name} {} {{folder}} {", "{ filename } {name} {} {ohwx dog} {"),
        ("plain", "plain"),
    ],
)
def test_known_names_are_filled_in_and_other_braces_stay(tmp_path: Path, text: str, filled: str) -> None:
    path = image(tmp_path / "ohwx dog" / "my.photo_1.png", "a {filename} of it")
    assert Placeholders(path).fill(text) == filled


def test_each_image_gets_its_own_texts(
    pipe: JanusPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(tmp_path / "set" / "a.png", "a red cat")
    image(tmp_path / "set" / "b.png")
    monkeypatch.setattr(pipe.__class__, "understand", lambda _, images, texts, *__, **___: map(Answer, texts))
    options = CaptionFolder("Is it {metadata}?", prefix="{folder}, ", suffix=", {filename}")
    report = caption_folder(pipe, tmp_path / "set", options)
    assert (tmp_path / "set" / "a.txt").read_text(encoding="utf-8") == "set, Is it a red cat?, a\n"
    assert (tmp_path / "set" / "b.txt").read_text(encoding="utf-8") == "set, Is it ?, b\n"
    assert report.without_metadata == ["b.png"]
    assert "1 without text for {metadata}: b.png" in report.text


def test_a_text_that_does_not_do_as_a_question_fails_only_its_image(
    pipe: JanusPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(tmp_path / "set" / "a.png", "<image_placeholder><image_placeholder>")
    image(tmp_path / "set" / "b.png", "a dog")
    image(tmp_path / "set" / "c.png")
    monkeypatch.setattr(pipe.__class__, "understand", lambda _, images, texts, *__, **___: map(Answer, texts))
    report = caption_folder(pipe, tmp_path / "set", CaptionFolder("{metadata}"))
    assert report.done == 1
    assert list(report.failed) == ["a.png", "c.png"]
    assert "one <image_placeholder> per image" in report.failed["a.png"]
    assert "question must hold text" in report.failed["c.png"]
