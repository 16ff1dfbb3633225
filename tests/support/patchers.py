"""ComfyUI's patchers of a model's parts, moved as one, for tests of nodes."""

from __future__ import annotations

import torch
from comfy.model_patcher import ModelPatcher
from janus_nodes.janus_core import Part
from janus_nodes.nodes.memory import LoadedJanus

WHOLE = 1e32


def device_patchers(loaded: LoadedJanus) -> list[ModelPatcher]:
    """Those of parts that are loaded onto a device: all but the text table."""
    return [patcher for part, patcher in loaded.patchers.items() if part is not Part.TEXT_TABLE]


def movable_size(loaded: LoadedJanus) -> int:
    """Bytes of the weights that are loaded onto a device."""
    return sum(patcher.model_size() for patcher in device_patchers(loaded))


def loaded_size(loaded: LoadedJanus) -> int:
    """Bytes of those that are there."""
    return sum(patcher.loaded_size() for patcher in device_patchers(loaded))


def load_share(loaded: LoadedJanus, device: torch.device, share: float) -> None:
    """Has a device hold this share of each part more, or all of it if the share is `WHOLE`."""
    for patcher in device_patchers(loaded):
        # As small as ComfyUI asks for when nothing fits; 0 would mean everything.
        patcher.partially_load(device, max(0.1, share * patcher.model_size()))


def unload_share(loaded: LoadedJanus, device: torch.device, share: float) -> int:
    """Moves a share of each part away, and returns the bytes."""
    return sum(
        patcher.partially_unload(device, share * patcher.model_size()) for patcher in device_patchers(loaded)
    )


def cast_all(loaded: LoadedJanus, device: torch.device) -> None:
    """Leaves every weight where it is, in layers that bring it to the device."""
    for patcher in loaded.patchers.values():
        patcher.load(device, lowvram_model_memory=1)


def detach(loaded: LoadedJanus) -> None:
    """Takes every part off its device."""
    for patcher in loaded.patchers.values():
        patcher.detach()
