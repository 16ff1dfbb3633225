"""Prompts in API format, written node by node, with every widget that is not given at its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Link = list[Any]
"""A node's id and the number of one of its outputs."""


class Graph:
    """A prompt under construction for a server that describes its nodes as `object_info`."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        self.object_info = object_info
        self.nodes: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, **inputs: Any) -> Link:
        """Adds a node and returns its first output."""
        node_id = str(len(self.nodes) + 1)
        declared = self.object_info[kind]["input"].get("required", {})
        specs = {name: spec[1] for name, spec in declared.items() if len(spec) > 1}
        defaults = {name: options["default"] for name, options in specs.items() if "default" in options}
        self.nodes[node_id] = {"class_type": kind, "inputs": defaults | inputs}
        return [node_id, 0]

    def load(self, checkpoint: str = "janus-pro-tiny", **widgets: Any) -> Link:
        """Adds Load Janus-Pro, in float32, where results do not depend on the machine."""
        return self.add("JanusLoad", checkpoint=checkpoint, **{"precision": "fp32", **widgets})

    def show(self, text: Link) -> Link:
        """Adds a node that shows a text, or each text of a list."""
        return self.add("PreviewAny", source=text)

    def save(self, image: Link) -> Link:
        """Adds a node that saves images."""
        return self.add("SaveImage", images=image, filename_prefix="scenario")

    def batch(self, first: Link, second: Link) -> Link:
        """Adds a node that makes one batch of two images; the second is cut to the size of the first."""
        return self.add("ImageBatch", image1=first, image2=second)
