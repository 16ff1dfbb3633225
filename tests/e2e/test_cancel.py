"""Cancelling on the server takes effect at once, and the next run is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from janus_nodes.janus_core import JanusPipeline, TextSampling
from support.workflows import read
from torch import Tensor

from dev.comfyui.client import ComfyClient, Prompt, RunResult
from dev.comfyui.events import Event
from dev.comfyui.graph import Graph
from dev.comfyui.users import CHECKPOINTS
from dev.comfyui.workflow import set_checkpoint, to_prompt

SOON = 3.0  # seconds; a step of these runs takes a tenth of one


def cancel_at(
    client: ComfyClient, prompt: Prompt, wanted: Callable[[Event], bool]
) -> tuple[RunResult, float]:
    """Runs a prompt and cancels it at an event; returns the result and the seconds until the end."""
    with client.watch() as watcher:
        prompt_id = client.queue(prompt, watcher.client_id)
        watcher.until(wanted)
        asked = time.monotonic()
        client.interrupt()
        watcher.until_finished(prompt_id)
        return client.result(prompt_id, watcher.events), time.monotonic() - asked


def steps_of(node: str, at_least: int) -> Callable[[Event], bool]:
    """Accepts the event that reports at least `at_least` steps of a node."""

    def reached(event: Event) -> bool:
        state = event.data.get("nodes", {}).get(node, {}) if event.type == "progress_state" else {}
        return state.get("state") == "running" and state["value"] >= at_least and state["max"] > at_least

    return reached


def assert_next_run_is_right(client: ComfyClient, graph: Graph, pipe: JanusPipeline) -> None:
    """The server answers the next prompt as the core does."""
    after = Graph(graph.object_info)
    answer = after.add("JanusUnderstand", model=after.load(), question="Who?", max_new_tokens=8)
    result = client.run(after.nodes).check()
    assert result.texts(answer[0]) == pipe.understand(None, "Who?", TextSampling(max_new_tokens=8))


@pytest.mark.parametrize("step", [1, 20])
def test_cancelled_drawing_ends_at_once(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, step: int
) -> None:
    loaded = graph.load()
    drawn = graph.add("JanusGenerate", model=loaded, prompt="A lake.", batch_size=256, seed=step)
    graph.save(drawn)
    result, seconds = cancel_at(client, graph.nodes, steps_of(drawn[0], step))
    assert result.status == "interrupted"
    assert result.outputs.keys() <= {loaded[0]}  # it says which chat roles it took
    assert seconds < SOON
    assert_next_run_is_right(client, graph, pipe)


def test_cancelled_answer_ends_at_once(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    image = graph.add("LoadImage", image="coffee.png")
    # A penalty below 1 makes words repeat: the answer does not end before it is cancelled.
    answer = graph.add(
        "JanusUnderstand", model=graph.load(), image=image, max_new_tokens=8000, repetition_penalty=0.5
    )
    result, seconds = cancel_at(client, graph.nodes, steps_of(answer[0], 10))
    assert result.status == "interrupted"
    assert seconds < SOON
    assert_next_run_is_right(client, graph, pipe)


def test_cancelled_encoding_of_many_images_ends_at_once(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    images = graph.add("EmptyImage", width=64, height=64, batch_size=200)
    model = graph.load()
    tokens = graph.add("JanusVQEncode", model=model, image=images)
    graph.save(graph.add("JanusVQDecode", model=model, tokens=tokens))
    result, seconds = cancel_at(client, graph.nodes, steps_of(tokens[0], 3))
    assert result.status == "interrupted"
    assert seconds < SOON
    assert_next_run_is_right(client, graph, pipe)


@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("Edit part of an image", "JanusEdit", {"batch_size": 64}),
        ("Best of four images", "JanusBestOf", {"batch_size": 256}),
        ("Draw after thinking", "JanusThinkAndDraw", {"batch_size": 64}),
        ("Janus-4o - edit by instruction", "JanusEdit", {"batch_size": 256}),
        ("JanusFlow - text to image", "JanusFlowSampler", {"steps": 1000, "batch_size": 64}),
    ],
)
def test_each_long_task_of_the_examples_ends_at_once(
    client: ComfyClient, object_info: dict[str, Any], name: str, kind: str, changes: dict[str, int]
) -> None:
    checkpoint, _ = CHECKPOINTS.get(name, ("janus-pro-tiny", ""))
    prompt = to_prompt(set_checkpoint(read(name), checkpoint), object_info)
    (node,) = (id_ for id_, each in prompt.items() if each["class_type"] == kind)
    prompt[node]["inputs"] |= changes
    result, seconds = cancel_at(client, prompt, steps_of(node, 1))
    assert result.status == "interrupted"
    assert seconds < SOON


def test_same_prompt_runs_after_it_was_cancelled(client: ComfyClient, graph: Graph) -> None:
    drawn = graph.add("JanusGenerate", model=graph.load(), prompt="A hill.", batch_size=9, seed=123)
    saved = graph.save(drawn)
    result, _ = cancel_at(client, graph.nodes, steps_of(drawn[0], 5))
    assert result.status == "interrupted"
    assert len(client.run(graph.nodes).check().images(saved[0])) == 9
