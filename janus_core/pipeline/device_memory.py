"""Free memory of devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..models.devices import ACCELERATORS
from ..models.parts import Parts


@dataclass(frozen=True)
class Room:
    """Bytes that a run can allocate on a device.

    Attributes:
        beside_weights: with all parts of the model on the device that the run uses.
        at_most: if the host moves the model's weights away as far as it can, which makes every step slower.
    """

    beside_weights: int
    at_most: int


def free_room(device: torch.device, parts: Parts) -> Room | None:
    """Room on a device that holds all parts of a model already; None if it is not known."""
    free = free_bytes(device)
    return None if free is None else Room(free, free)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a device, with what PyTorch keeps for reuse; None if it is not known."""
    if device.type == "cpu":
        return _free_main_memory()
    if device.type not in ACCELERATORS or not torch.get_device_module(device).is_available():
        return None
    module = torch.get_device_module(device)
    if hasattr(module, "recommended_max_memory"):  # Macs
        return max(module.recommended_max_memory() - module.current_allocated_memory(), 0)
    if not hasattr(module, "mem_get_info"):  # Intel's cards before PyTorch 2.6
        return None
    try:
        free = module.mem_get_info(device)[0]
    except RuntimeError:  # some of Intel's cards do not tell
        return None
    return int(free + module.memory_reserved(device) - module.memory_allocated(device))


def _free_main_memory() -> int | None:
    status = Path("/proc/meminfo")
    if not status.exists():
        return None
    values = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return int(values["MemAvailable"].split()[0]) * 1024


def empty_cache(device: torch.device) -> None:
    """Gives memory that PyTorch keeps for reuse back to a device."""
    if device.type in ACCELERATORS:
        torch.get_device_module(device).empty_cache()
