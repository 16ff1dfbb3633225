"""Captioning a folder on a server: the example workflow, and folders that must not be reachable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.captioning import write_images

from dev.comfyui.client import ComfyClient
from dev.comfyui.server import ComfyServer
from dev.comfyui.tree import REPO_ROOT
from dev.comfyui.workflow import to_prompt


@pytest.fixture
def prompt(object_info: dict[str, Any]) -> dict[str, Any]:
    """The example workflow, as the front end queues it, with a folder of its own."""
    file = REPO_ROOT / "workflows" / "Training captions for a folder of images.json"
    prompt = to_prompt(json.loads(file.read_text(encoding="utf-8")), object_info)
    inputs_of(prompt)["folder"] = "another_dataset"
    return prompt


def caption_node(prompt: dict[str, Any]) -> str:
    """The id of its caption node."""
    (node_id,) = (key for key, node in prompt.items() if node["class_type"] == "JanusCaptionFolder")
    return node_id


def inputs_of(prompt: dict[str, Any]) -> dict[str, Any]:
    """The widgets of its caption node."""
    inputs: dict[str, Any] = prompt[caption_node(prompt)]["inputs"]
    return inputs


def test_example_captions_its_folder_and_a_second_run_skips_all(
    server: ComfyServer, client: ComfyClient, prompt: dict[str, Any]
) -> None:
    folder: Path = write_images(server.base / "input" / "another_dataset", 3)
    (folder / "broken.png").write_bytes(b"no image")
    texts = client.run(prompt).check().texts(caption_node(prompt))
    assert texts[0].startswith("3 captioned, 0 had a caption, 1 failed\nbroken.png: image must be")
    assert set(texts) == {texts[0]}
    captions = {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.txt")}
    assert sorted(captions) == ["image_0.txt", "image_1.txt", "image_2.txt"]
    assert all(caption.strip() for caption in captions.values())

    # The unchanged prompt runs again instead of being cached.
    again = client.run(prompt).check().texts(caption_node(prompt))
    assert again[0].startswith("0 captioned, 3 had a caption, 1 failed")
    assert {file.name: file.read_text(encoding="utf-8") for file in folder.glob("*.txt")} == captions


@pytest.mark.parametrize("name", ["..", "../models", "/etc", "C:\\Windows", "my_dataset/../../output"])
def test_no_folder_outside_is_reached(client: ComfyClient, prompt: dict[str, Any], name: str) -> None:
    inputs_of(prompt)["folder"] = name
    result = client.run(prompt)
    assert result.status == "error"
    assert result.errors[0].message.startswith("folder must lie in ComfyUI's input folder, got ")
