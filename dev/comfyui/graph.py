"""Builds prompts in API format node by node; widgets that are not given have their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Link = list[Any]
"""Node id and output index."""


class Graph:
    """A prompt that is being built; `object_info` is the server's description of its nodes."""

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
        """Adds the Load node, in float32, so that results do not depend on the machine."""
        return self.add("JanusLoad", checkpoint=checkpoint, **{"precision": "fp32", **widgets})

    def show(self, text: Link) -> Link:
        """Adds a node that displays a text, or each text of a list."""
        return self.add("PreviewAny", source=text)

    def save(self, image: Link) -> Link:
        """Adds a node that saves images."""
        return self.add("SaveImage", images=image, filename_prefix="scenario")

    def batch(self, first: Link, second: Link) -> Link:
        """Adds a node that batches two images; the second is resized to the first."""
        return self.add("ImageBatch", image1=first, image2=second)
