"""The record of a training, `training.json` in the trained checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..file_io import read_json

RECORD = "training.json"


def read_record(checkpoint: Path) -> dict[str, Any]:
    """Reads the record of a checkpoint trained by the command box; ValueError if it has none."""
    file = checkpoint / RECORD
    if not file.is_file():
        raise ValueError(
            f"checkpoint to continue from must hold {RECORD}, got {checkpoint} without it; use a checkpoint "
            "trained by the command box"
        )
    return read_json(file)


def stage_names(record: dict[str, Any]) -> list[str]:
    """Names of all stages that a checkpoint has had."""
    return [stage["name"] for stage in record["recipe"]["stages"]]


def write_record(checkpoint: Path, record: dict[str, Any], earlier: dict[str, Any] | None = None) -> None:
    """Writes a record; the stages and losses of an earlier one, from which training continued, come first."""
    if earlier:
        stages = [*earlier["recipe"]["stages"], *record["recipe"]["stages"]]
        losses = earlier["losses"] | record["losses"]
        record = record | {"recipe": record["recipe"] | {"stages": stages}, "losses": losses}
    (checkpoint / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
