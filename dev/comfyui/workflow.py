"""Converts a saved workflow into the prompt that the front end would queue.

The saved form lists widget values by position, so the node descriptions of a running server (`object_info`)
are needed to name them. Handled: seeds and other inputs with a control beside them, upload buttons, widgets
converted to inputs, unlinked optional inputs, notes, reroutes, primitives, muted and bypassed nodes. Not
handled: subgraphs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTES = {"Note", "MarkdownNote"}
UPLOADS = ("image_upload", "audio_upload", "video_upload", "file_upload", "animated_image_upload")
MUTED, BYPASSED = 2, 4


def to_prompt(workflow: Json, object_info: Mapping[str, Json]) -> dict[str, Json]:
    """Returns the workflow in API format, by node id.

    Args:
        workflow: parsed JSON with `nodes` and `links`.
        object_info: `ComfyClient.object_info()`.

    Raises:
        ValueError: the server does not know a node class, or a node has fewer values than widgets.
    """
    graph = _Graph(workflow)
    prompt = {}
    for node in graph.nodes.values():
        if node["type"] in NOTES | {"Reroute", "PrimitiveNode"} or node.get("mode") in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise ValueError(
                f"node {node['id']} must be of a class that the server has, got '{node['type']}'; "
                "install its pack"
            )
        inputs = _widget_values(node, object_info[node["type"]])
        for slot in node.get("inputs", ()):
            source = graph.source_of(slot)
            if source is not None:
                inputs[slot["name"]] = source
        title = node.get("title") or object_info[node["type"]].get("display_name")
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def widget_names(description: Json) -> Iterator[str | None]:
    """Yields the names of a node class's widgets in the order of its saved values.

    None stands for a value that belongs to no input (the control of a seed, an upload button).
    """
    groups = description["input"]
    inputs = [item for group in ("required", "optional") for item in groups.get(group, {}).items()]
    for name, spec in inputs:
        options = spec[1] if len(spec) > 1 else {}
        kind = options.get("widgetType") or spec[0]
        if options.get("forceInput") or not (isinstance(kind, list) or kind in WIDGET_TYPES):
            continue
        yield name
        controlled = options.get("control_after_generate")
        if controlled or (controlled is None and kind == "INT" and name in ("seed", "noise_seed")):
            yield None
        if any(options.get(upload) for upload in UPLOADS):
            yield None


def _widget_values(node: Json, description: Json) -> Json:
    values = node.get("widgets_values") or []
    names = list(widget_names(description))
    if isinstance(values, dict):  # some node packs save them by name
        named = {name: values[name] for name in names if name in values}
    else:
        # The front end may omit a button at the end; values after the last widget belong to displays.
        needed = max((index + 1 for index, name in enumerate(names) if name), default=0)
        if len(values) < needed:
            raise ValueError(
                f"node {node['id']} ({node['type']}) must have values for {names}, got {values}; "
                "save the workflow again"
            )
        named = dict(zip(names, values, strict=False))
    # A plain list would be taken for a link.
    return {name: {"__value__": v} if isinstance(v, list) else v for name, v in named.items() if name}


class _Graph:
    """The nodes and links of a workflow, by id."""

    def __init__(self, workflow: Json) -> None:
        self.nodes: dict[Any, Json] = {node["id"]: node for node in workflow["nodes"]}
        self.links: dict[Any, tuple[Any, int]] = {}
        for link in workflow.get("links", ()):
            if isinstance(link, dict):
                self.links[link["id"]] = (link["origin_id"], link["origin_slot"])
            else:
                self.links[link[0]] = (link[1], link[2])

    def source_of(self, slot: Json) -> Any:
        """Returns the source of an input: [node id, output index], the value of a primitive, or None."""
        if slot.get("link") is None:
            return None
        origin_id, output = self.links[slot["link"]]
        origin = self.nodes[origin_id]
        if origin.get("mode") == MUTED:
            return None
        if origin["type"] == "PrimitiveNode":
            return origin["widgets_values"][0]
        if origin["type"] == "Reroute":
            return self.source_of(origin["inputs"][0])
        if origin.get("mode") == BYPASSED:
            return self._source_through(origin, output)
        return [str(origin_id), output]

    def _source_through(self, node: Json, output: int) -> Any:
        """A bypassed node forwards its first input of the output's type, if possible at the same index."""
        slots = node.get("inputs", [])
        for slot in slots[output : output + 1] + slots:
            if slot["type"] == node["outputs"][output]["type"]:
                return self.source_of(slot)
        return None


def nodes_of(workflow: dict[str, Any], kinds: set[str]) -> dict[str, str]:
    """Node classes by id, for the nodes of the given classes."""
    return {str(node["id"]): node["type"] for node in workflow["nodes"] if node["type"] in kinds}


def values_of(workflow: dict[str, Any]) -> dict[int, list[Any]]:
    """Widget values by node id."""
    return {node["id"]: node.get("widgets_values") or [] for node in workflow["nodes"]}


def set_checkpoint(workflow: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns a copy of a workflow that loads another checkpoint."""
    other: dict[str, Any] = json.loads(json.dumps(workflow))
    for node in other["nodes"]:
        if node["type"] == "JanusLoad":
            node["widgets_values"][0] = name
    return other
