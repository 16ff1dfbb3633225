"""The client of `dev.comfyui`, on ComfyUI's own nodes, so that its errors are not taken for the pack's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dev.comfyui.client import ComfyClient, PromptRejectedError
from dev.comfyui.events import decode_event
from dev.comfyui.workflow import to_prompt

PICTURE = Path(__file__).parents[1] / "golden" / "images" / "landscape_rgb.png"


def invert_prompt(name: str) -> dict[str, Any]:
    """LoadImage → ImageInvert → SaveImage in API format."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}},
    }


def invert_workflow(name: str) -> dict[str, Any]:
    """The same as a saved workflow, with a note, a reroute, a bypassed and a muted node."""
    image = {"name": "image", "type": "IMAGE"}
    return {
        "version": 0.4,
        "nodes": [
            {
                "id": 1,
                "type": "LoadImage",
                "inputs": [],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}, {"name": "MASK", "type": "MASK"}],
                "widgets_values": [name, "image"],
            },
            {"id": 2, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 1}]},
            {
                "id": 3,
                "type": "ImageBlur",
                "mode": 4,
                "inputs": [{**image, "link": 2}],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
                "widgets_values": [1, 1.0],
            },
            {
                "id": 4,
                "type": "ImageInvert",
                "inputs": [{**image, "link": 3}],
                "outputs": [{"name": "IMAGE", "type": "IMAGE"}],
            },
            {
                "id": 5,
                "type": "SaveImage",
                "inputs": [
                    {"name": "images", "type": "IMAGE", "link": 4},
                    {
                        "name": "filename_prefix",
                        "type": "STRING",
                        "widget": {"name": "filename_prefix"},
                        "link": 5,
                    },
                ],
                "widgets_values": ["hidden by the link"],
            },
            {"id": 6, "type": "PrimitiveNode", "outputs": [], "widgets_values": ["converted", "fixed"]},
            {"id": 7, "type": "SaveImage", "mode": 2, "inputs": [{**image, "link": None}]},
            {"id": 8, "type": "MarkdownNote", "widgets_values": ["A note."]},
        ],
        "links": [
            [1, 1, 0, 2, 0, "IMAGE"],
            [2, 2, 0, 3, 0, "IMAGE"],
            [3, 3, 0, 4, 0, "IMAGE"],
            [4, 4, 0, 5, 0, "IMAGE"],
            [5, 6, 0, 5, 1, "STRING"],
        ],
    }


def assert_inverted(png: bytes) -> None:
    """Checks a picture against PICTURE; ComfyUI truncates to 8 bits, hence the tolerance of 1."""
    original, inverted = (np.asarray(Image.open(f).convert("RGB")) for f in (PICTURE, io.BytesIO(png)))
    np.testing.assert_allclose(inverted.astype(int), 255 - original.astype(int), rtol=0, atol=1)


def test_server_describes_core_nodes(client: ComfyClient) -> None:
    assert {"LoadImage", "ImageInvert", "SaveImage"} <= client.object_info().keys()


def test_api_prompt_runs_and_returns_the_image(client: ComfyClient) -> None:
    result = client.run(invert_prompt(client.upload_image(PICTURE))).check()

    (image,) = result.images("3")
    assert_inverted(client.view(image))
    assert [event.data["node"] for event in result.of_type("executed")] == ["3"]


def test_saved_workflow_runs_like_its_api_prompt(client: ComfyClient) -> None:
    workflow = invert_workflow(client.upload_image(PICTURE))

    prompt = to_prompt(workflow, client.object_info())
    assert prompt.keys() == {"1", "4", "5"}
    assert prompt["4"]["inputs"] == {"image": ["1", 0]}
    assert prompt["5"]["inputs"] == {"images": ["4", 0], "filename_prefix": "converted"}

    (image,) = client.run(prompt).check().images()
    assert image["filename"].startswith("converted")
    assert_inverted(client.view(image))


def test_conversion_skips_the_control_behind_a_seed(client: ComfyClient) -> None:
    sampler = {
        "id": 1,
        "type": "KSampler",
        "inputs": [],
        "widgets_values": [42, "randomize", 20, 8.0, "euler", "simple", 1.0],
    }
    prompt = to_prompt({"nodes": [sampler], "links": []}, client.object_info())
    assert prompt["1"]["inputs"] == {
        "seed": 42,
        "steps": 20,
        "cfg": 8.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
    }


def test_conversion_names_the_unknown_node_and_the_missing_values(client: ComfyClient) -> None:
    info = client.object_info()
    with pytest.raises(ValueError, match="node 1 must be of a class that the server has, got 'Nowhere'"):
        to_prompt({"nodes": [{"id": 1, "type": "Nowhere"}]}, info)
    with pytest.raises(ValueError, match=r"node 2 \(ImageBlur\) must have values"):
        to_prompt({"nodes": [{"id": 2, "type": "ImageBlur", "widgets_values": [1]}]}, info)


def test_missing_file_is_rejected_with_node_and_reason(client: ComfyClient) -> None:
    with pytest.raises(PromptRejectedError, match=r"node 1: .*missing\.png"):
        client.run(invert_prompt("missing.png"))


def test_error_of_a_node_is_reported(client: ComfyClient, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no picture", encoding="utf-8")

    result = client.run(invert_prompt(client.upload_image(broken)))
    assert result.status == "error"
    (error,) = result.errors
    assert (error.node_id, error.node_type) == ("1", "LoadImage")
    assert "cannot identify image file" in error.message
    with pytest.raises(RuntimeError, match="cannot identify image file"):
        result.check()


def test_interrupt_ends_a_running_prompt(client: ComfyClient) -> None:
    count = 40
    size = {"width": 1024, "height": 1024, "batch_size": 1, "color": 9}
    prompt: dict[str, Any] = {"0": {"class_type": "EmptyImage", "inputs": size}}
    for index in range(1, count):
        blur = {"image": [str(index - 1), 0], "blur_radius": 15, "sigma": 5.0}
        prompt[str(index)] = {"class_type": "ImageBlur", "inputs": blur}
    prompt[str(count)] = {"class_type": "PreviewImage", "inputs": {"images": [str(count - 1), 0]}}

    with client.watch() as watcher:
        prompt_id = client.queue(prompt, watcher.client_id)
        watcher.until_running("1")
        client.interrupt()
        watcher.until_finished(prompt_id)
        result = client.result(prompt_id, watcher.events)
    assert result.status == "interrupted"
    assert result.outputs == {}
    assert len(result.of_type("executing")) < count


def test_free_is_accepted_and_the_server_goes_on(client: ComfyClient) -> None:
    client.free()
    assert client.run(invert_prompt(client.upload_image(PICTURE))).status == "success"


def test_binary_messages_are_decoded() -> None:
    assert decode_event(b"\0\0\0\x01\0\0\0\x01JPEG").image == b"JPEG"
    text = decode_event(b"\0\0\0\x03\0\0\0\x0212a caf\xc3\xa9")
    assert (text.type, text.data) == ("progress_text", {"node": "12", "text": "a café"})
    preview = decode_event(b'\0\0\0\x04\0\0\0\x10{"node_id": "7"}PNG')
    assert (preview.type, preview.data, preview.image) == ("preview", {"node_id": "7"}, b"PNG")
