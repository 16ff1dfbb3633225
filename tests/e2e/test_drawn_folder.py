"""A folder that the command line has drawn, back in a graph: the example workflow."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.workflows import read

from dev.comfyui.client import ComfyClient
from dev.comfyui.server import ComfyServer
from dev.comfyui.users import DRAWINGS, PROMPTS
from dev.comfyui.workflow import to_prompt

SCORE, PREVIEW = "3", "4"


@pytest.fixture
def prompt(object_info: dict[str, Any]) -> dict[str, Any]:
    """The example workflow, as the front end queues it."""
    return to_prompt(read("Score a folder of drawings"), object_info)


def test_each_drawing_is_scored_against_its_own_prompt(
    server: ComfyServer, client: ComfyClient, prompt: dict[str, Any]
) -> None:
    result = client.run(prompt).check()
    shown = [np.asarray(Image.open(io.BytesIO(client.view(file)))) for file in result.images(PREVIEW)]
    drawn = [
        np.asarray(Image.open(server.base / "input" / DRAWINGS / f"{each}.png").convert("RGB"))
        for each in PROMPTS
    ]
    # The node lists them in the order of the file system.
    assert sorted(image.tobytes() for image in shown) == sorted(image.tobytes() for image in drawn)
    assert [float(score) > 0.5 for score in result.texts(SCORE)] == [True] * len(PROMPTS)
