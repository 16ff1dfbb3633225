"""Generate and image tokens on the server: same pixels as the core, chains, previews and progress."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from support.pictures import decode_png, saved_pixels
from torch import Tensor

from dev.comfyui.client import ComfyClient, RunResult
from dev.comfyui.graph import Graph, Link

PROMPT = "A small harbour beside a lighthouse."


def pictures(client: ComfyClient, result: RunResult, node: Link) -> list[np.ndarray]:
    """The pixels that a node saved."""
    return [decode_png(client.view(image)) for image in result.images(node[0])]


def assert_pictures(found: list[np.ndarray], images: Tensor) -> None:
    """Compares saved pictures with the core's images [B, H, W, 3]."""
    assert len(found) == len(images)
    for picture, expected in zip(found, saved_pixels(images), strict=True):
        np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 5.0, "temperature": 0.0},
        {"guidance_scale": 1.0, "temperature": 0.0},
        {"guidance_scale": 3.0, "temperature": 1.0, "seed": 2**64 - 2, "batch_size": 3},
        {"guidance_scale": 0.0, "temperature": 0.7, "top_k": 20, "top_p": 0.9, "seed": 5},
    ],
)
def test_pixels_and_tokens_equal_the_core(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, options: dict[str, Any]
) -> None:
    model = graph.load()
    drawn = graph.add("JanusGenerate", model=model, prompt=PROMPT, **options)
    decoded = graph.add("JanusVQDecode", model=model, tokens=[drawn[0], 1])
    saved, again = graph.save(drawn), graph.save(decoded)
    result = client.run(graph.nodes).check()
    images = pipe.generate(PROMPT, TokenSampling(**options)).images
    assert_pictures(pictures(client, result, saved), images)
    assert_pictures(pictures(client, result, again), images)


def test_negative_prompt_equals_the_core(client: ComfyClient, graph: Graph, pipe: JanusPipeline) -> None:
    options = {"seed": 11, "guidance_scale": 4.0}
    drawn = graph.add("JanusGenerate", model=graph.load(), prompt=PROMPT, negative_prompt="Fog.", **options)
    saved = graph.save(drawn)
    result = client.run(graph.nodes).check()
    expected = pipe.generate(PROMPT, TokenSampling(**options), negative_prompt="Fog.")
    assert_pictures(pictures(client, result, saved), expected.images)


def test_image_i_of_a_batch_is_the_single_image_of_seed_plus_i(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    model = graph.load()
    options = {"model": model, "prompt": PROMPT, "guidance_scale": 2.0}
    batch = graph.save(graph.add("JanusGenerate", seed=3, batch_size=10, **options))
    singles = [graph.save(graph.add("JanusGenerate", seed=3 + index, **options)) for index in (0, 7, 8, 9)]
    result = client.run(graph.nodes).check()
    drawn = pictures(client, result, batch)
    assert len(drawn) == 10
    for index, single in zip((0, 7, 8, 9), singles, strict=True):
        np.testing.assert_array_equal(pictures(client, result, single)[0], drawn[index])


def test_token_round_trip_of_photographs_equals_the_core(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    model = graph.load()
    saved = {}
    for name in photographs:
        image = graph.add("LoadImage", image=f"{name}.png")
        tokens = graph.add("JanusVQEncode", model=model, image=image)
        saved[name] = graph.save(graph.add("JanusVQDecode", model=model, tokens=tokens))
    result = client.run(graph.nodes).check()
    for name, photograph in photographs.items():
        expected = pipe.decode_tokens(pipe.encode_tokens(photograph))
        assert_pictures(pictures(client, result, saved[name]), expected)


def test_caption_becomes_the_prompt_of_an_image(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    model = graph.load()
    image = graph.add("LoadImage", image="coffee.png")
    caption = graph.add("JanusUnderstand", model=model, image=image, question="Describe.", max_new_tokens=12)
    saved = graph.save(graph.add("JanusGenerate", model=model, prompt=caption, seed=1))
    result = client.run(graph.nodes).check()
    (text,) = pipe.understand(photographs["coffee"], "Describe.", TextSampling(max_new_tokens=12))
    assert result.texts(caption[0]) == [text]
    assert_pictures(pictures(client, result, saved), pipe.generate(text, TokenSampling(seed=1)).images)


def test_batch_of_captions_becomes_as_many_images(
    client: ComfyClient, graph: Graph, photographs: dict[str, Tensor]
) -> None:
    model = graph.load()
    files = [graph.add("LoadImage", image=f"{name}.png") for name in ("astronaut", "coffee")]
    captions = graph.add("JanusUnderstand", model=model, image=graph.batch(*files), max_new_tokens=12)
    saved = graph.save(graph.add("JanusGenerate", model=model, prompt=captions))
    assert len(client.run(graph.nodes).check().images(saved[0])) == 2


def test_drawn_image_can_be_asked_about(client: ComfyClient, graph: Graph, pipe: JanusPipeline) -> None:
    model = graph.load()
    drawn = graph.add("JanusGenerate", model=model, prompt=PROMPT, temperature=0.0)
    answer = graph.add("JanusUnderstand", model=model, image=drawn, question="What?", max_new_tokens=8)
    result = client.run(graph.nodes).check()
    images = pipe.generate(PROMPT, TokenSampling(temperature=0.0)).images
    assert result.texts(answer[0]) == pipe.understand(images, "What?", TextSampling(max_new_tokens=8))


def test_preview_and_progress_arrive_while_it_draws(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    drawn = graph.add("JanusGenerate", model=graph.load(), prompt=PROMPT, batch_size=20, seed=99)
    graph.save(drawn)
    result = client.run(graph.nodes).check()
    previews = [decode_png(preview) for preview in result.previews]
    assert len(previews) >= 2
    assert all(preview.shape[0] == preview.shape[1] for preview in previews[:-1])
    height, width, _ = previews[-1].shape
    assert height / width == pytest.approx(4 / 5, abs=0.01)  # all 20 of them, five in a row
    assert np.ptp(previews[-1][-1]) > 0  # its last row is no longer grey
    steps = [
        state
        for event in result.of_type("progress_state")
        for node, state in event.data["nodes"].items()
        if node == drawn[0] and state["state"] == "running"
    ]
    values = [step["value"] for step in steps]
    assert values == sorted(values)
    # Newer servers drop reports that follow too soon, but neither the first, nor the last, nor a preview's.
    assert set(values) >= {1, pipe.tokens_per_row, 3 * 16}
    assert {step["max"] for step in steps[2:]} == {3 * 16}


def test_results_pass_through_core_nodes(client: ComfyClient, graph: Graph, pipe: JanusPipeline) -> None:
    drawn = graph.add("JanusGenerate", model=graph.load(), prompt=PROMPT, temperature=0.0)
    saved = graph.save(graph.add("ImageInvert", image=drawn))
    result = client.run(graph.nodes).check()
    images = 1.0 - pipe.generate(PROMPT, TokenSampling(temperature=0.0)).images
    assert_pictures(pictures(client, result, saved), torch.as_tensor(images))
