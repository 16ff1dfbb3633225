"""The checkpoint in the box: whole, small, and saying and drawing what it did when it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from janus_nodes.janus_core import DEMONSTRATION, JanusPipeline, missing_files
from janus_nodes.janus_core.presets import TAGGED_ROLES
from PIL import Image
from support import demonstration

MAX_BYTES = 25_000_000


@pytest.fixture(scope="module")
def observed(shapes_pipe: JanusPipeline) -> tuple[dict[str, Any], np.ndarray]:
    return demonstration.observe(shapes_pipe)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(demonstration.RECORD.read_text(encoding="utf-8"))
    return content


def test_it_is_whole_and_small_and_holds_no_pickle() -> None:
    assert missing_files(DEMONSTRATION) == []
    files = [file for file in Path(DEMONSTRATION).iterdir() if file.name != "README.md"]
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


def test_it_is_of_the_size_that_the_examples_count_on(shapes_pipe: JanusPipeline) -> None:
    assert (shapes_pipe.prompts.chat.user, shapes_pipe.prompts.chat.assistant) == TAGGED_ROLES
    assert shapes_pipe.model.config.generation.image_size == 96
    assert shapes_pipe.model.config.generation.num_tokens == 36


def test_its_first_drawing_is_the_one_that_was_recorded(
    shapes_pipe: JanusPipeline, recorded: dict[str, Any]
) -> None:
    drawn = shapes_pipe.generate(demonstration.PROMPTS[0], demonstration.OPTIONS[0])
    assert drawn.tokens[0].tolist() == recorded["tokens"][0]
    assert shapes_pipe.encode_tokens(drawn.images)[0].tolist() == recorded["encoded"]


@pytest.mark.slow
def test_it_gives_the_answers_that_were_recorded(
    observed: tuple[dict[str, Any], np.ndarray], recorded: dict[str, Any]
) -> None:
    assert observed[0]["answers"] == recorded["answers"]


@pytest.mark.slow
def test_it_draws_the_tokens_that_were_recorded(
    observed: tuple[dict[str, Any], np.ndarray], recorded: dict[str, Any]
) -> None:
    assert observed[0]["tokens"] == recorded["tokens"]
    assert observed[0]["encoded"] == recorded["encoded"]


@pytest.mark.slow
def test_its_pictures_are_those_that_were_recorded(observed: tuple[dict[str, Any], np.ndarray]) -> None:
    with Image.open(demonstration.PICTURES) as image:
        expected = np.asarray(image)
    difference = np.abs(observed[1].astype(int) - expected)
    assert observed[1].shape == expected.shape and difference.max() <= 1
