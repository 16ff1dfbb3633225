"""The report of captioning a folder: captions that are not whole are written, counted and named.

Reported for other programs: salesforce/LAVIS#713, bytedance/Sa2VA#137 (repetitions).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core import CaptionFolder, CaptionReport, JanusPipeline, TextSampling, caption_folder
from janus_nodes.janus_core.pipeline.answer import EOS, LENGTH, Answer
from PIL import Image

ANSWERS = {
    "a.png": Answer("A whole caption.", EOS, unfamiliar=True),
    "b.png": Answer("A caption that is cut in the", LENGTH),
    "c.png": Answer("A cat and " + "a red ball and " * 20 + "a", LENGTH),
    "d.png": Answer("一只猫" + "在红色的球旁边，" * 10, EOS),
}


@pytest.mark.parametrize("output", ["txt", "jsonl"])
def test_cut_and_repeating_captions_are_written_and_named(
    pipe: JanusPipeline, tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ANSWERS:
        Image.new("RGB", (9, 8)).save(tmp_path / name)
    monkeypatch.setattr(pipe.__class__, "understand", lambda *_, **__: [*ANSWERS.values()])
    report = caption_folder(pipe, tmp_path, CaptionFolder(output=output))
    assert report == CaptionReport(
        4,
        cut=["b.png", "c.png"],
        repeating=["c.png", "d.png"],
        unread=[],
        without_metadata=[],
        unfamiliar=["a.png"],
    )
    assert report.text.splitlines() == [
        "4 captioned, 0 had a caption, 0 failed",
        "2 cut off at max_new_tokens: b.png, c.png; raise it and caption these again",
        "2 repeating themselves: c.png, d.png; caption these again with a repetition_penalty of about 1.1",
        "1 unlike everything that the model was trained on, so that the caption means little: a.png; caption "
        "photographs with Janus-Pro",
    ]


def test_the_captions_of_a_model_say_how_they_ended(pipe: JanusPipeline, tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    report = caption_folder(pipe, tmp_path, None, TextSampling(max_new_tokens=3))
    assert (report.done, report.cut) == (1, ["a.png"])


def test_many_names_are_cut_to_their_number() -> None:
    names = [f"{number}.png" for number in range(25)]
    line = CaptionReport(25, cut=names).text.splitlines()[1]
    assert line.startswith("25 cut off at max_new_tokens: 0.png, 1.png, ")
    assert ", 19.png and 5 more; raise it" in line


def test_a_pattern_that_fits_nothing_is_shown() -> None:
    assert CaptionReport(1, left_out=[]).text.splitlines()[1] == "0 left out by skip"
