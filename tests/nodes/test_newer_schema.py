"""Parts of the schema that only newer versions of ComfyUI have, and the order in which nodes are offered."""

from __future__ import annotations

import asyncio
import inspect

from comfy_api.latest import io
from janus_nodes.nodes import comfy_entrypoint
from janus_nodes.nodes.newer_schema import SEARCH_WORDS, found_by, rare

NODES: list[type[io.ComfyNode]] = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
# What users see of each node where the API can hide the rest; in Nodes 2.0, `seed` includes its control.
COMMON = {
    "JanusLoad": ["checkpoint", "download", "precision", "template"],
    "JanusGenerate": ["prompt", "negative_prompt", "seed", "batch_size", "guidance_scale", "temperature"],
    "JanusUnderstand": ["task", "question", "max_new_tokens", "temperature", "seed", "answer_format"],
}


class Older:
    """A class of an API without the newer parts."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_newer_parts_are_left_out_where_the_api_has_none() -> None:
    assert rare(Older) == {}  # type: ignore[arg-type]
    newer = "search_aliases" in inspect.signature(io.Schema).parameters
    assert bool(found_by("JanusLoad")) == newer
    assert bool(rare(io.Float.Input)) == ("advanced" in inspect.signature(io.Float.Input).parameters)


def test_every_node_has_search_words() -> None:
    assert SEARCH_WORDS.keys() == {node.__name__ for node in NODES}
    wanted = "deepseek, vqa, caption, describe, text to image, inpaint, vision, florence"
    everything = {word for words in SEARCH_WORDS.values() for word in words.split(", ")}
    assert set(wanted.split(", ")) <= everything


def test_a_link_from_a_model_offers_generate_and_understand_first() -> None:
    takers = [
        node.__name__
        for node in NODES
        if any(entry.get_io_type() == "JANUS_PIPELINE" for entry in node.define_schema().inputs)
    ]
    assert takers[:4] == ["JanusGenerate", "JanusUnderstand", "JanusEdit", "JanusAsk"]
    assert NODES[0].__name__ == "JanusLoad"


def test_rare_widgets_are_hidden_where_the_api_can() -> None:
    by_name = {node.__name__: node for node in NODES}
    for name, common in COMMON.items():
        entries = [
            entry for entry in by_name[name].define_schema().inputs if isinstance(entry, io.WidgetInput)
        ]
        hidden = [entry.id for entry in entries if getattr(entry, "advanced", False)]
        if rare(io.Float.Input):
            assert [entry.id for entry in entries if entry.id not in hidden] == common
        else:
            assert hidden == []
