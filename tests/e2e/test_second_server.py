"""A server with other settings: models in another folder, a larger cache, measurable memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from janus_nodes.janus_core import JanusPipeline, TextSampling
from support.checkpoints import copy_checkpoint, small_config, write_checkpoint

from dev.comfyui.client import ComfyClient
from dev.comfyui.graph import Graph
from dev.comfyui.server import ComfyServer

QUESTION, SAMPLING = "Who?", TextSampling(max_new_tokens=8)
BIG = small_config(hidden_size=1024, heads=16, kv_heads=16, head_dim=64, intermediate_size=4096)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the golden checkpoint as `far`, and `big` with 200 MB of random weights."""
    disk = tmp_path_factory.mktemp("disk")
    copy_checkpoint("janus-pro-tiny", disk / "janus models" / "far")
    write_checkpoint(disk / "janus models" / "big", BIG)
    return disk


@pytest.fixture(scope="module")
def second(server_factory: Callable[..., ComfyServer], disk: Path) -> ComfyServer:
    """A running server whose extra_model_paths.yaml names that folder."""
    config = disk / "extra_model_paths.yaml"
    config.write_text(f"other_ui:\n  base_path: {disk}\n  janus: janus models\n", encoding="utf-8")
    server = server_factory(
        arguments=("--extra-model-paths-config", str(config), "--cache-lru", "20"),
        # Freed memory returns to the system at once, so that the size of the process is what it holds.
        environment={"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_ARENA_MAX": "1"},
    )
    server.start()
    return server


def answer(client: ComfyClient, checkpoint: str, question: str = QUESTION) -> list[str]:
    """The answer of a checkpoint on the server."""
    graph = Graph(client.object_info())
    node = graph.add("JanusUnderstand", model=graph.load(checkpoint), question=question, max_new_tokens=8)
    return client.run(graph.nodes).check().texts(node[0])


def test_checkpoint_of_an_extra_model_path_is_listed_and_answers(
    second: ComfyServer, pipe: JanusPipeline
) -> None:
    options = str(second.client.object_info()["JanusLoad"]["input"]["required"]["checkpoint"])
    assert "'far'" in options
    assert "'big'" in options
    assert answer(second.client, "far") == pipe.understand(None, QUESTION, SAMPLING)
    assert str(second.base) not in options


def test_cached_models_keep_answering_right(second: ComfyServer, pipe: JanusPipeline) -> None:
    big = answer(second.client, "big")
    for question in ("Who is it?", "Where is it?"):
        assert answer(second.client, "far", question) == pipe.understand(None, question, SAMPLING)
        assert answer(second.client, "big") == big


def test_unloading_gives_the_memory_back(second: ComfyServer, disk: Path) -> None:
    size = (disk / "janus models" / "big" / "model.safetensors").stat().st_size
    assert size > 190_000_000
    memory = psutil.Process(second.pid).memory_info
    answer(second.client, "big")
    loaded = memory().rss
    second.client.free()
    wait_until(lambda: memory().rss < loaded - 0.8 * size)
    before = memory().rss
    for _ in range(3):
        answer(second.client, "big")
        assert 0.8 * size < memory().rss - before < 1.4 * size
        second.client.free()
        wait_until(lambda: memory().rss - before < 0.15 * size)


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition must hold within {seconds} s"
        time.sleep(0.1)
