"""What a node displays on the canvas after it has run.

That an answer was cut off or repeats itself is not said in m87-labs/moondream #44 and
WASasquatch/was-node-suite-comfyui #262.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from janus_nodes.janus_core import Answer
from janus_nodes.nodes.generate import JanusGenerate
from janus_nodes.nodes.result import ending_note, ui_output
from janus_nodes.nodes.understand import JanusUnderstand
from PIL import Image
from support.node_runs import prepared


def file_of(entry: dict[str, Any]) -> Path:
    """Where an image lies that a node shows."""
    assert entry["type"] == "temp"
    return Path(folder_paths.get_temp_directory()) / entry["subfolder"] / entry["filename"]


def test_texts_are_joined_with_an_empty_line_between() -> None:
    assert ui_output(JanusGenerate, ["One.", "Two."]) == {"text": ("One.\n\nTwo.",)}


def test_images_of_a_batch_are_shown_with_the_workflow_in_each() -> None:
    images = torch.rand(2, 8, 12, 3)
    node = prepared(JanusGenerate, prompt={"1": "a prompt"}, extra_pnginfo={"workflow": {"nodes": []}})
    result = ui_output(node, images=images)
    assert len(result["images"]) == 2
    for entry, expected in zip(result["images"], images, strict=True):
        with Image.open(file_of(entry)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), (expected * 255).byte().numpy())
            assert json.loads(picture.info["prompt"]) == {"1": "a prompt"}
            assert json.loads(picture.info["workflow"]) == {"nodes": []}


def test_no_texts_and_no_images_give_empty_entries() -> None:
    assert ui_output(JanusGenerate, [], torch.empty(0, 1, 1, 3)) == {"text": ("",), "images": []}


def test_values_beyond_white_are_cut_off() -> None:
    (entry,) = ui_output(JanusGenerate, images=torch.full((1, 4, 4, 3), 1.7))["images"]
    with Image.open(file_of(entry)) as picture:
        assert picture.getextrema() == ((255, 255),) * 3


CUT = "stopped at max_new_tokens = 64, or at the end of the model's context"
REPEATING = "an orange triangle, " * 8


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], []),
        ([Answer("A cat."), Answer("A dog.")], []),
        ([Answer("A cat", "length")], [f"[{CUT}]"]),
        ([Answer(REPEATING)], ["[ended in repetitions]"]),
        ([Answer(REPEATING, "length")], [f"[{CUT}]", "[ended in repetitions]"]),
        (
            [Answer("A cat", "length"), Answer("A dog."), Answer(REPEATING, "length")],
            [f"[2 of 3 {CUT}]", "[1 of 3 ended in repetitions]"],
        ),
    ],
)
def test_a_note_tells_how_answers_ended_if_there_is_something_to_tell(
    answers: list[Answer], expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert ending_note(answers, 64) == "\n".join(expected)
    assert len(caplog.messages) == len(expected)
    for message, line in zip(caplog.messages, expected, strict=True):
        assert line.strip("[]").rpartition(" of 3 ")[2] in message and "answers" in message


def test_a_note_is_no_part_of_the_texts() -> None:
    assert ui_output(JanusUnderstand, ["One."], note="[x]") == {"text": ("One.",), "note": ("[x]",)}
