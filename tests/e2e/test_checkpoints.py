"""Several checkpoints on one server: unloading, converting and replacing them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling, load_pipeline
from support.checkpoints import copy_checkpoint, small_config, write_checkpoint
from support.pictures import decode_png, saved_pixels

from dev.comfyui.client import ComfyClient
from dev.comfyui.graph import Graph
from dev.comfyui.server import ComfyServer


@pytest.fixture(scope="module")
def other(server: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> JanusPipeline:
    """A checkpoint of other sizes, on the server as `somebody/other-sizes`."""
    folder = tmp_path_factory.mktemp("checkpoint") / "other-sizes"
    write_checkpoint(folder, small_config(), seed=5)
    server.add_model(folder, name="somebody/other-sizes")
    return load_pipeline(folder, dtype=torch.float32)


@dataclass(frozen=True)
class Outcome:
    """Answers and picture of a checkpoint, and the nodes whose results were cached."""

    answers: list[str]
    picture: bytes
    cached: list[str]


def ask_and_draw(client: ComfyClient, checkpoint: str, **widgets: object) -> Outcome:
    """Runs Understand and Generate once."""
    graph = Graph(client.object_info())
    model = graph.load(checkpoint, **widgets)
    answer = graph.add("JanusUnderstand", model=model, question="Who?", max_new_tokens=12)
    saved = graph.save(graph.add("JanusGenerate", model=model, prompt="A lake.", temperature=0.0))
    result = client.run(graph.nodes).check()
    cached = [node for event in result.of_type("execution_cached") for node in event.data["nodes"]]
    return Outcome(result.texts(answer[0]), client.view(result.images(saved[0])[0]), cached)


def assert_of(pipeline: JanusPipeline, outcome: Outcome) -> None:
    """Compares answer and picture with those of the core."""
    assert outcome.answers == pipeline.understand(None, "Who?", TextSampling(max_new_tokens=12))
    images = pipeline.generate("A lake.", TokenSampling(temperature=0.0)).images
    assert (decode_png(outcome.picture) == saved_pixels(images)[0]).all()


def test_two_checkpoints_take_turns(client: ComfyClient, pipe: JanusPipeline, other: JanusPipeline) -> None:
    for _ in range(2):
        assert_of(pipe, ask_and_draw(client, "janus-pro-tiny"))
        assert_of(other, ask_and_draw(client, "somebody/other-sizes"))


def test_two_checkpoints_work_in_one_prompt(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, other: JanusPipeline
) -> None:
    pipelines = {"janus-pro-tiny": pipe, "somebody/other-sizes": other}
    answers = {
        name: graph.add("JanusUnderstand", model=graph.load(name), question="Who?", max_new_tokens=12)
        for name in pipelines
    }
    result = client.run(graph.nodes).check()
    for name, pipeline in pipelines.items():
        expected = pipeline.understand(None, "Who?", TextSampling(max_new_tokens=12))
        assert result.texts(answers[name][0]) == expected


def test_same_workflow_gives_the_same_after_unloading(client: ComfyClient, pipe: JanusPipeline) -> None:
    first = ask_and_draw(client, "janus-pro-tiny")
    assert len(ask_and_draw(client, "janus-pro-tiny").cached) == 4
    client.free()
    time.sleep(1.0)  # the server frees between two prompts
    again = ask_and_draw(client, "janus-pro-tiny")
    assert again == Outcome(first.answers, first.picture, cached=[])
    assert_of(pipe, again)


def test_same_workflow_gives_the_same_after_unloading_the_models_only(
    client: ComfyClient, pipe: JanusPipeline
) -> None:
    ask_and_draw(client, "janus-pro-tiny")
    client.free(free_memory=False)
    time.sleep(1.0)
    graph = Graph(client.object_info())
    answer = graph.add("JanusUnderstand", model=graph.load(), question="Where?", max_new_tokens=12)
    result = client.run(graph.nodes).check()
    assert [event.data["nodes"] for event in result.of_type("execution_cached")] == [["1"]]
    assert result.texts(answer[0]) == pipe.understand(None, "Where?", TextSampling(max_new_tokens=12))


def test_pickled_checkpoint_loads_and_is_converted_beside_its_source(
    client: ComfyClient, server: ComfyServer, tmp_path: Path
) -> None:
    folder = copy_checkpoint("janus-pro-tiny-bin", tmp_path / "pickled")
    source = (folder / "pytorch_model.bin").read_bytes()
    server.add_model(folder)
    expected = load_pipeline(folder, dtype=torch.float32)
    assert_of(expected, ask_and_draw(client, "pickled"))
    assert not (folder / "model.safetensors").exists()

    for _ in range(2):
        assert_of(expected, ask_and_draw(client, "pickled", convert_bin=True))
        assert (folder / "pytorch_model.bin").read_bytes() == source
        (folder / "model.safetensors").chmod(0o400)  # it is not written again
    (folder / "pytorch_model.bin").unlink()
    assert_of(expected, ask_and_draw(client, "pickled"))


def test_replaced_checkpoint_is_loaded_again(
    client: ComfyClient, server: ComfyServer, pipe: JanusPipeline, tmp_path: Path
) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "replaced")
    server.add_model(folder)
    assert_of(pipe, ask_and_draw(client, "replaced"))
    for file in folder.iterdir():
        file.unlink()
    write_checkpoint(folder, small_config(), seed=8)
    assert_of(load_pipeline(folder, dtype=torch.float32), ask_and_draw(client, "replaced"))
