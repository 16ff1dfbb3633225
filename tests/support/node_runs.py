"""Runs nodes as ComfyUI does, in a process that has ComfyUI."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io


def widgets(node: type[io.ComfyNode]) -> dict[str, Any]:
    """Widgets of a node with their defaults."""
    return {
        entry.id: entry.default
        for entry in node.define_schema().inputs
        if isinstance(entry, io.WidgetInput) and not entry.force_input  # else it is only a socket
    }


def prepared(node: type[io.ComfyNode], **hidden: Any) -> type[io.ComfyNode]:
    """The copy of a node's class that ComfyUI runs; `hidden` holds its hidden inputs by their names."""
    # The form in which ComfyUI passes them here differs between its versions.
    copy = node.PREPARE_CLASS_CLONE(None)
    copy.hidden = io.HiddenHolder.from_dict({io.Hidden[name]: value for name, value in hidden.items()})
    return copy


def run(node: type[io.ComfyNode], **inputs: Any) -> tuple[Any, ...]:
    """Runs a node and returns its outputs; widgets that are not given have their defaults."""
    return run_and_show(node, **inputs)[0]


def run_and_show(node: type[io.ComfyNode], **inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Runs a node in the same way and returns its outputs and its `ui` values."""
    with torch.inference_mode():
        output = prepared(node, unique_id="1").EXECUTE_NORMALIZED(**widgets(node) | inputs)
    assert len(output.args) == len(node.define_schema().outputs)
    return output.args, output.ui or {}
