"""Combo widgets, and checks of their values, which may come from workflows of earlier versions."""

from collections.abc import Iterable
from typing import Any

from comfy_api.latest import io

# Former values and their present names. A node with such a combo defines `validate_inputs` for it, since
# ComfyUI's own check would refuse a former value. `web/janus_saved.js` has the same table for the canvas.
RENAMED = {
    "go on with its turns": "continue",
    "ask afresh about its images": "start over, keep the images",
}


def choice_input(
    name: str, options: Iterable[str], tooltip: str, optional: bool = False, **more: Any
) -> io.Input:
    """A combo whose default is the first option; `more` as in `newer_schema.rare`."""
    options = list(options)
    return io.Combo.Input(
        name, options=options, default=options[0], optional=optional, tooltip=tooltip, **more
    )


def resolve_choice(name: str, value: str, options: Iterable[str]) -> str:
    """Returns the option that a combo's value stands for, under its present name.

    Nodes check their combos themselves: older versions of ComfyUI pass on any value that a workflow holds.

    Args:
        name: the input's name, for the error message.
        value: from the workflow.
        options: what the combo offers.

    Raises:
        ValueError: if the value is none of the options.
    """
    choice = RENAMED.get(value, value) if isinstance(value, str) else None
    if choice not in options:
        raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}; choose one of these")
    return choice
