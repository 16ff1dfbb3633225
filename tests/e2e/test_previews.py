"""ComfyUI's preview method on a server: from its command line, and from the prompt (newer front ends).

Reported of other nodes: Comfy-Org/ComfyUI #1761 and obisin/ComfyUI-FSampler #13.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dev.comfyui.client import ComfyClient, RunResult
from dev.comfyui.graph import Graph
from dev.comfyui.server import ComfyServer


@pytest.fixture(scope="module")
def quiet_client(server_factory: Callable[..., ComfyServer], golden_root: Path) -> ComfyClient:
    """A client of a server that was started with `--preview-method none`."""
    server = server_factory(arguments=("--preview-method", "none"))
    server.add_model(golden_root / "janus-pro-tiny")
    server.start()
    return server.client


def draw(client: ComfyClient, seed: int, method: str | None = None) -> RunResult:
    """Runs Janus Generate and Save Image, with this preview method of the prompt."""
    graph = Graph(client.object_info())
    graph.save(graph.add("JanusGenerate", model=graph.load(), prompt="A cat.", batch_size=3, seed=seed))
    extra_data = {} if method is None else {"preview_method": method}
    with client.watch() as watcher:
        body = {"prompt": graph.nodes, "client_id": watcher.client_id, "extra_data": extra_data}
        prompt_id = client.post("/prompt", body).json()["prompt_id"]
        watcher.until_finished(prompt_id, 120)
        return client.result(prompt_id, watcher.events).check()


def test_none_on_the_command_line_sends_no_previews(quiet_client: ComfyClient) -> None:
    result = draw(quiet_client, seed=1)
    assert result.previews == []
    assert len(result.images()) == 6  # Generate's own, and the saved ones
    assert result.of_type("progress_state")
    assert quiet_client.get("/system_stats").ok


def test_none_of_a_prompt_sends_no_previews_of_this_prompt(client: ComfyClient) -> None:
    assert draw(client, seed=2, method="none").previews == []
    assert draw(client, seed=3, method="latent2rgb").previews
    assert draw(client, seed=4).previews
