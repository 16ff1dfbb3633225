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
from janus_nodes.nodes.result import shown_answers, ui_output
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


CUT = "[stopped at max_new_tokens = 64, or at the end of the model's context]"
REPEATING = "an orange triangle, " * 8


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer("A cat."), "A cat."),
        (Answer("A cat", "length"), f"A cat\n{CUT}"),
        (Answer(REPEATING), f"{REPEATING}\n[repeats itself]"),
        (Answer(REPEATING, "length"), f"{REPEATING}\n{CUT}\n[repeats itself]"),
    ],
)
def test_how_an_answer_ended_is_a_line_below_it(answer: Answer, expected: str) -> None:
    assert shown_answers([answer, Answer("A dog.")], 64) == [expected, "A dog."]


def test_how_answers_ended_is_logged_only_if_there_is_something_to_tell(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown_answers([Answer("A cat."), Answer("A dog.")], 64)
    assert caplog.messages == []
    shown_answers([Answer("A cat", "length"), Answer(REPEATING, "length"), Answer("A")], 64)
    assert caplog.messages == [
        "2 of 3 answers stopped at max_new_tokens = 64, or at the end of the model's context, and 1 "
        "ended in repetitions."
    ]
