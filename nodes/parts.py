"""The parts of a model under ComfyUI's memory management: each has a patcher of its own.

So a run has on the device only the parts that it uses: to draw, neither the text head nor the vision tower.
"""

from collections.abc import Iterable, Mapping

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher

from ..janus_core import Janus, Part, Parts, Room, packed_bytes

Patchers = Mapping[Part, ModelPatcher]


class JanusPart(torch.nn.Module):
    """Modules of a model under their own paths, so that their weights have the same names."""

    def __init__(self, model: Janus, paths: Iterable[str]) -> None:
        super().__init__()
        for path in paths:
            owner: torch.nn.Module = self
            *parents, name = path.split(".")
            for parent in parents:
                if parent not in owner._modules:
                    owner.add_module(parent, torch.nn.Module())
                owner = owner.get_submodule(parent)
            owner.add_module(name, model.get_submodule(path))


def part_patchers(
    model: Janus, device: torch.device, offload_device: torch.device
) -> dict[Part, ModelPatcher]:
    """Returns a patcher for each part of a model.

    The text table stays on the offload device, where an adapter may patch it and rows are looked up. If it
    shares its weight with the text head, it has no patcher, and goes where that goes.
    """
    patchers: dict[Part, ModelPatcher] = {}
    owned: set[int] = set()
    for part in Part:
        module = JanusPart(model, part.value)
        weights = {id(weight) for weight in module.parameters()}
        if weights & owned:
            continue
        owned |= weights
        # Packed CPU weights are not parameters, so that ComfyUI does not count them by itself.
        size = mm.module_size(module) + packed_bytes(module)
        target = offload_device if part is Part.TEXT_TABLE else device
        patchers[part] = ModelPatcher(module, target, offload_device, size=size)
    return patchers


def _used(patchers: Patchers, parts: Parts) -> list[ModelPatcher]:
    """Returns the patchers of some parts, those first that take part in the most steps."""
    return [patchers[part] for part in Part if part in parts and part in patchers]


def reserve(patchers: Patchers, num_bytes: int, parts: Parts) -> None:
    """Moves as much of some parts to their device as fits beside `num_bytes` of other tensors."""
    loaded = _used(patchers, parts)
    # ComfyUI loads patchers in an order of its own, and the first one gets the memory. Those that are loaded
    # stay there, except with --disable-smart-memory.
    for count in range(1, len(loaded) + 1):
        mm.load_models_gpu(loaded[:count], memory_required=num_bytes)


def room(patchers: Patchers, device: torch.device, parts: Parts) -> Room:
    """Memory that a run of some parts can get on the device, were everything else moved away."""
    free = int(mm.get_free_memory(device) - mm.extra_reserved_memory())
    needed = [patcher for patcher in _used(patchers, parts) if patcher.load_device == device]
    if all(patcher.offload_device == device for patcher in needed):
        return Room(free, free)  # on CPUs and with --highvram, the weights are there, whatever runs
    here = [each for each in mm.current_loaded_models if each.model is not None and each.device == device]
    free += sum(each.model_loaded_memory() for each in here)
    beside_weights = free - sum(patcher.model_size() for patcher in needed)
    if mm.vram_state is mm.VRAMState.SHARED:  # they are never moved away
        return Room(beside_weights, beside_weights)
    if mm.vram_state is mm.VRAMState.NO_VRAM:  # they are moved in every step, whatever runs
        return Room(free, free)
    # On devices that are not NVIDIA's, ComfyUI keeps a share for weights.
    return Room(beside_weights, int(free * (1 - mm.MIN_WEIGHT_MEMORY_RATIO)))
