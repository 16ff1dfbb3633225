"""Think and draw on the server: streaming, progress, cancelling, thoughts fed back, and errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from support.pictures import decode_png, saved_pixels

from dev.comfyui.client import ComfyClient
from dev.comfyui.events import Event
from dev.comfyui.graph import Graph, Link

SOON = 3.0  # seconds; a step of these runs takes a tenth of one
THINKS: dict[str, Any] = {"prompt": "A red ball.", "form": "got-r1", "thought_temperature": 1.5, "seed": 7}


def progress_of(node: Link, event: Event) -> float:
    """The fraction of a node that is done; 0 for other events."""
    state = event.data.get("nodes", {}).get(node[0], {}) if event.type == "progress_state" else {}
    return state["value"] / state["max"] if state.get("state") == "running" else 0.0


def test_thought_streams_then_the_picture_grows_and_both_equal_the_core(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    drawn = graph.add("JanusThinkAndDraw", model=graph.load(), max_new_tokens=120, **THINKS)
    saved = graph.save(drawn)
    result = client.run(graph.nodes).check()
    expected = pipe.think_and_draw(
        "A red ball.", "got-r1", TokenSampling(seed=7), TextSampling(120, 1.5, seed=7)
    )
    (thought,) = expected.thoughts
    assert result.texts(drawn[0])[0].startswith(thought.strip())
    (picture,) = (decode_png(client.view(image)) for image in result.images(saved[0]))
    np.testing.assert_array_equal(picture, saved_pixels(expected.images)[0])
    # The thought has been sent in parts and as a whole before the first preview.
    kinds = [event.type for event in result.events if event.type in ("janus.text", "preview")]
    texts = [event.data["text"] for event in result.of_type("janus.text")]
    assert len(texts) > 1 and texts[-1] == thought.strip()
    assert any(thought.startswith(text) and 0 < len(text) < len(thought) for text in texts)
    assert "preview" in kinds and "janus.text" not in kinds[kinds.index("preview") :]
    done = [progress_of(drawn, event) for event in result.events]
    done = [fraction for fraction in done if fraction]
    assert done == sorted(done) and any(0 < fraction < 0.5 for fraction in done)


@pytest.mark.parametrize("where", ["thought", "picture"])
def test_cancelled_ends_at_once(client: ComfyClient, graph: Graph, where: str) -> None:
    thinks = {"max_new_tokens": 4000} if where == "thought" else {"max_new_tokens": 1, "batch_size": 256}
    drawn = graph.add("JanusThinkAndDraw", model=graph.load(), **THINKS | thinks)
    graph.save(drawn)
    reached: Callable[[Event], bool] = (
        (lambda event: event.type == "janus.text")
        if where == "thought"
        else lambda event: progress_of(drawn, event) > 0.01
    )
    with client.watch() as watcher:
        prompt_id = client.queue(graph.nodes, watcher.client_id)
        watcher.until(reached)
        asked = time.monotonic()
        client.interrupt()
        watcher.until_finished(prompt_id)
        result = client.result(prompt_id, watcher.events)
    assert result.status == "interrupted"
    assert time.monotonic() - asked < SOON


def test_thought_fed_back_gives_the_same_image_and_a_rerun_is_cached(
    client: ComfyClient, graph: Graph
) -> None:
    model = graph.load()
    options = THINKS | {"max_new_tokens": 16}
    first = graph.add("JanusThinkAndDraw", model=model, **options)
    again = graph.add("JanusThinkAndDraw", model=model, thought=[first[0], 1], **options)
    shown = graph.show([first[0], 1])
    saved = [graph.save(first), graph.save(again), graph.save([first[0], 2])]
    result = client.run(graph.nodes).check()
    pictures = [client.view(result.images(node[0])[0]) for node in saved]
    assert pictures[0] == pictures[1]
    assert result.texts(shown[0])[0]
    rerun = client.run(graph.nodes).check()
    assert rerun.texts(first[0]) == result.texts(first[0])
    assert not rerun.of_type("janus.text")


def test_wrong_input_is_one_sentence_on_the_node(client: ComfyClient, graph: Graph) -> None:
    drawn = graph.add("JanusThinkAndDraw", model=graph.load(), **THINKS | {"rounds": 2})
    graph.save(drawn)
    result = client.run(graph.nodes)
    assert result.status == "error"
    (error,) = result.errors
    expected = "rounds must be 0 or 1 for form 'got-r1', which does not review images, got 2; lower it"
    assert error.message.strip() == expected and error.node_id == drawn[0]
