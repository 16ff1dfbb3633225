"""The demonstration models that this package trains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...loading import DEMONSTRATION
from ..recipe import Recipe
from ..samples import TrainingData
from .flow_model import FLOW_SHAPES_RECIPE, write_flow_start
from .model import SHAPES_RECIPE, write_untrained_checkpoint


@dataclass(frozen=True)
class Box:
    """How a demonstration model is trained."""

    recipe: Recipe
    write_start: Callable[[Path, TrainingData, int], None]  # writes the initial checkpoint for a seed
    starts_from: Path | None = None  # a checkpoint with the initial weights of some parts

    def origin(self) -> str:
        """Returns what identifies the initial weights beside the seed; empty if nothing else does."""
        if self.starts_from is None:
            return ""
        digest = hashlib.sha256((self.starts_from / "model.safetensors").read_bytes()).hexdigest()
        return f"{self.starts_from.name} {digest[:12]}"


BOXES = {
    "janus-shapes": Box(SHAPES_RECIPE, write_untrained_checkpoint),
    "janusflow-shapes": Box(FLOW_SHAPES_RECIPE, write_flow_start, DEMONSTRATION),
}
