"""Runs nodes as ComfyUI does, in a process that has ComfyUI."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


def widgets(node: type[io.ComfyNode]) -> dict[str, Any]:
    """Widgets of a node with their defaults."""
    return {
        entry.id: entry.default for entry in node.define_schema().inputs if isinstance(entry, io.WidgetInput)
    }


def run(node: type[io.ComfyNode], **inputs: Any) -> tuple[Any, ...]:
    """Runs a node and returns its outputs; widgets that are not given have their defaults."""
    return run_and_show(node, **inputs)[0]


def run_and_show(node: type[io.ComfyNode], **inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Runs a node in the same way and returns its outputs and its `ui` values."""
    # The form in which the hidden inputs are passed here differs between ComfyUI's releases.
    prepared = node.PREPARE_CLASS_CLONE(None)
    prepared.hidden = io.HiddenHolder.from_dict({io.Hidden.unique_id: "1"})
    output = prepared.EXECUTE_NORMALIZED(**widgets(node) | inputs)
    assert len(output.args) == len(node.define_schema().outputs)
    return output.args, output.ui or {}
