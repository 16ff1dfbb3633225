"""What types of devices there are, and what they can do."""

from __future__ import annotations

from functools import cache

import torch

# In the order in which one is chosen. Cards of AMD are of type cuda as well.
ACCELERATORS = ("cuda", "xpu", "mps")


def present_accelerator() -> str | None:
    """The type of this machine's accelerator; None without one."""
    return next((kind for kind in ACCELERATORS if torch.get_device_module(kind).is_available()), None)


@cache
def pins_memory(device_type: str) -> bool:
    """Whether copies from pinned main memory run beside the host.

    On Macs, main memory is the GPU's own: a copy that nobody waits for could read what is overwritten.
    """
    if device_type not in ("cuda", "xpu"):
        return False
    try:
        torch.empty(1, device="cpu", pin_memory=True)
    except (NotImplementedError, RuntimeError):  # for some types, older releases cannot pin memory
        return False
    return True


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch or a driver says that memory ran out: only some devices have a class for it."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
    )
