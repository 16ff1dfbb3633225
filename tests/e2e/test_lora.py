"""Janus LoRA on the server: one base with and without adapters in a graph, chains, and wrong adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
from janus_nodes.janus_core import TextSampling, load_pipeline
from support.adapters import write_adapter

from dev.comfyui.client import ComfyClient, RunResult
from dev.comfyui.graph import Graph, Link
from dev.comfyui.server import ComfyServer

LAYERS = "language_model.model.layers"
SAMPLING = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def adapters(server: ComfyServer) -> Path:
    """The server's folder of adapters: two for the model, and one for another."""
    root = server.base / "models" / "janus_loras"
    write_adapter(root / "first", {f"{LAYERS}.0.self_attn.o_proj": None, f"{LAYERS}.1.mlp.down_proj": None})
    write_adapter(root / "second", {f"{LAYERS}.1.self_attn.o_proj": None}, seed=1)
    write_adapter(root / "wrong", {f"{LAYERS}.0.self_attn.o_proj": (32, 48)})
    return root


def lora(graph: Graph, model: Link, adapter: str, strength: float = 1.0) -> Link:
    return graph.add("JanusLora", model=model, adapter=adapter, strength=strength)


def ask(graph: Graph, model: Link) -> Link:
    return graph.add("JanusUnderstand", model=model, question="Who?", **SAMPLING)


def cached(result: RunResult) -> set[str]:
    """The nodes whose results ComfyUI took from an earlier run."""
    return {node for event in result.of_type("execution_cached") for node in event.data["nodes"]}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])  # patched weights, and packed ones
def test_base_adapter_and_chain_answer_as_the_core_does_in_one_graph(
    client: ComfyClient, golden_root: Path, adapters: Path, precision: str
) -> None:
    def expected(*pairs: tuple[str, float]) -> list[str]:
        chosen = [(adapters / name, strength) for name, strength in pairs]
        pipe = load_pipeline(golden_root / "janus-pro-tiny", dtype=precision, adapters=chosen)
        return pipe.understand(None, "Who?", TextSampling(**SAMPLING))

    answers = []
    for strength in (1.0, -1.5):
        graph = Graph(client.object_info())
        base = graph.load(precision=precision)
        first = lora(graph, base, "first")
        both = lora(graph, first, "second", strength)
        asked = [ask(graph, model) for model in (base, first, both)]
        result = client.run(graph.nodes).check()
        answers.append([result.texts(node[0]) for node in asked])
        wanted = [expected(), expected(("first", 1.0)), expected(("first", 1.0), ("second", strength))]
        assert answers[-1] == wanted
    # Another strength runs only what depends on it.
    assert {base[0], first[0], asked[0][0], asked[1][0]} <= cached(result)
    assert not {both[0], asked[2][0]} & cached(result)
    assert len({text for (text,) in answers[0]}) == 3


def test_a_wrong_adapter_fails_at_its_own_link(client: ComfyClient, adapters: Path) -> None:
    graph = Graph(client.object_info())
    wrong = lora(graph, lora(graph, graph.load(precision="fp16"), "first"), "wrong")
    ask(graph, lora(graph, wrong, "second"))
    result = client.run(graph.nodes)
    (error,) = result.of_type("execution_error")
    assert error.data["node_id"] == wrong[0]
    assert "must be for a model of these sizes" in error.data["exception_message"]
    assert "Linear(" not in str(error.data["current_inputs"])  # not all layers of the model
