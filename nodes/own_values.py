"""Settings that a widget can leave to the checkpoint, or to another setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..janus_core import FlowSampling, TokenSampling, shown

# Of a widget: the value is left to something else. A number, so that links and saved workflows stay valid.
OWN = -1


@dataclass(frozen=True)
class Setting:
    """A setting that can be left to something else; `web/janus_widgets.js` has the same table.

    Attributes:
        least: the smallest value besides `OWN`.
        option: its name among the options of the core, if a checkpoint can state it.
        whose: what `OWN` stands for.
    """

    least: float
    option: str | None = None
    whose: str = "the checkpoint's own value"


# By the name of the widget.
SETTINGS = {
    "guidance_scale": Setting(0.0, "guidance_scale"),
    "temperature": Setting(0.0, "temperature"),
    "top_k": Setting(0, "top_k"),
    "top_p": Setting(0.01, "top_p"),
    "steps": Setting(1, "num_steps"),
    "thought_temperature": Setting(0.0, whose="that of the form"),
    "thought_top_k": Setting(0, whose="that of the form"),
    "thought_seed": Setting(0, whose="the same as seed"),
}


def can_be_own(entry: io.Input) -> bool:
    """Whether a node's input takes `OWN`."""
    return entry.id in SETTINGS and entry.min == OWN


def check_own(entry: io.Input, number: float) -> None:
    """Raises ValueError if a number for such an input is neither `OWN` nor in its range."""
    setting = SETTINGS[entry.id]
    if number != OWN and number < setting.least:
        raise ValueError(
            f"{entry.id} must be {OWN} for {setting.whose}, or at least {setting.least:g}, got "
            f"{shown(number)}; set one of these"
        )


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of widgets as options of the core, without those that are left to the checkpoint."""
    options = {name: SETTINGS[name].option or name if name in SETTINGS else name for name in values}
    return {options[name]: value for name, value in values.items() if not (name in SETTINGS and value == OWN)}


def taken(options: TokenSampling | FlowSampling) -> dict[str, float]:
    """The value in a run of each setting that a checkpoint can state, by the name of its widget."""
    return {
        name: getattr(options, setting.option)
        for name, setting in SETTINGS.items()
        if setting.option and hasattr(options, setting.option)
    }
