"""LoRA adapters on loaded models: as weight patches of ComfyUI, or by loading the checkpoint with them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor

from ..janus_core import (
    Change,
    Janus,
    JanusPipeline,
    add_changes,
    applied_adapters,
    merged_changes,
    read_adapters,
)
from .memory import LoadedJanus, Origin, load
from .parts import Patchers, reserve, room


class ReloadedJanus(LoadedJanus):
    """A model whose checkpoint is loaded with adapters when it is first used, so that a chain loads once."""

    def __init__(self, origin: Origin, adapters: tuple[tuple[Path, float], ...]) -> None:
        self.origin, self.adapters = replace(origin, patchers=None), adapters

    @cached_property
    def _loaded(self) -> LoadedJanus:
        return load(self.origin.folder, self.origin.precision, self.origin.template, self.adapters)

    @cached_property
    def pipeline(self) -> JanusPipeline:
        """Loads the checkpoint at its first use; a load that failed is tried again."""
        return self._loaded.pipeline

    @cached_property
    def patchers(self) -> Patchers:  # type: ignore[override]  # as `pipeline`, it is only read
        """Loads the checkpoint too."""
        return self._loaded.patchers


def with_adapter(model: LoadedJanus, path: Path, strength: float) -> LoadedJanus:
    """Returns a model with one more adapter; the given model is unchanged.

    Floating-point parameters are patched by ComfyUI when they are moved to the device, so models with
    different adapters share them, and the parts that no adapter changes stay on the device. Prepacked and
    quantized layers cannot be patched: if an adapter changes one, the checkpoint is loaded again when the
    model is used. An adapter's errors are always raised here.

    Args:
        model: possibly with adapters already.
        path: the adapter's folder or file.
        strength: 1 as trained, 0 for no effect.
    """
    adapters = (*model.adapters, (path, strength))
    found = read_adapters(model.origin.folder, adapters)
    if strength == 0:
        return model
    changes = merged_changes(found)
    origin = model.origin
    if origin.patchers is None or not _are_whole(model.pipeline.model, origin.patchers, changes):
        return ReloadedJanus(origin, adapters)
    # From the unpatched model, so that the order of adapters makes no difference.
    patchers = {part: _patched(patcher, changes) for part, patcher in origin.patchers.items()}
    pipeline = replace(
        model.pipeline,
        adapters=applied_adapters(found),
        reserve=partial(reserve, patchers),
        room=partial(room, patchers),
    )
    return LoadedJanus(pipeline, patchers, origin, adapters)


def _patched(patcher: ModelPatcher, changes: Mapping[str, Sequence[Change]]) -> ModelPatcher:
    """A clone that makes the changes of a part, or the patcher itself if there are none."""
    own = changes.keys() & dict(patcher.model.named_parameters()).keys()
    if not own:
        return patcher
    clone = patcher.clone()
    clone.add_patches({name: RowPatch(set(), tuple(changes[name])) for name in own})
    return clone


def _are_whole(model: Janus, patchers: Patchers, names: Mapping[str, object]) -> bool:
    """Whether ComfyUI can patch all of these parameters: not if they are prepacked, quantized, or shared."""
    # The model and its parts may list a shared parameter under different names.
    parameters = dict(model.named_parameters())
    managed = {name for patcher in patchers.values() for name, _ in patcher.model.named_parameters()}
    return names.keys() <= managed and all(
        name in parameters and parameters[name].is_floating_point() for name in names
    )


class RowPatch(WeightAdapterBase):
    """Wraps the changes of one parameter as a weight patch of ComfyUI."""

    name = "janus"

    def __init__(self, loaded_keys: set[str], weights: Sequence[Change]) -> None:
        """ComfyUI copies patches with these arguments; it needs no keys here."""
        self.loaded_keys, self.weights = loaded_keys, weights

    def calculate_weight(
        self,
        weight: Tensor,
        key: str,
        strength: float,
        strength_model: float,
        offset: object,
        function: object,
        intermediate_dtype: torch.dtype = torch.float32,
        original_weight: Tensor | None = None,
    ) -> Tensor:
        """Patches ComfyUI's copy of the weight in place; the changes include the strengths."""
        add_changes(weight, 0, self.weights)
        return weight
