"""Settings of image generation that a widget can leave to the checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..janus_core import FlowSampling, TokenSampling, shown

OWN = -1  # of a widget: the checkpoint's own value. A number, so that links and saved workflows stay valid.


@dataclass(frozen=True)
class Setting:
    """A setting that a checkpoint can state.

    Attributes:
        option: its name among the options of the core.
        least: the smallest value besides `OWN`; `web/janus_widgets.js` has the same.
    """

    option: str
    least: float


# By the name of the widget.
SETTINGS = {
    "guidance_scale": Setting("guidance_scale", 0.0),
    "temperature": Setting("temperature", 0.0),
    "top_k": Setting("top_k", 0),
    "top_p": Setting("top_p", 0.01),
    "steps": Setting("num_steps", 1),
}


def can_be_own(entry: io.Input) -> bool:
    """Whether a node's input takes `OWN`."""
    return entry.id in SETTINGS and entry.min == OWN


def check_own(entry: io.Input, number: float) -> None:
    """Raises ValueError if a number for such an input is neither `OWN` nor in its range."""
    least = SETTINGS[entry.id].least
    if number != OWN and number < least:
        raise ValueError(
            f"{entry.id} must be {OWN} for the checkpoint's own value, or at least {least:g}, got "
            f"{shown(number)}; set one of these"
        )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of widgets as options of the core, without those that are left to the checkpoint."""
    options = {name: SETTINGS[name].option if name in SETTINGS else name for name in values}
    return {options[name]: value for name, value in values.items() if not (name in SETTINGS and value == OWN)}


def taken(options: TokenSampling | FlowSampling) -> dict[str, float]:
    """The value of each setting in a run, by the name of its widget."""
    return {
        name: getattr(options, setting.option)
        for name, setting in SETTINGS.items()
        if hasattr(options, setting.option)
    }
