"""The metrics file of a run: the losses of each step as one line of JSON."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ..file_io import write_atomically


def append_losses(file: Path, stage: str, step: int, losses: dict[str, float]) -> None:
    """Appends the line of one step."""
    rounded = {name: round(value, 5) for name, value in losses.items()}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"stage": stage, "step": step, **rounded}) + "\n")


def final_losses(file: Path, steps: int = 50) -> dict[str, dict[str, float]]:
    """Returns the losses of each stage, averaged over its last steps."""
    stages: dict[str, deque[dict[str, float]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        losses = json.loads(line)
        losses.pop("step")
        stages.setdefault(losses.pop("stage"), deque(maxlen=steps)).append(losses)
    return {
        stage: {name: round(fmean(losses[name] for losses in last), 5) for name in last[-1]}
        for stage, last in stages.items()
    }


def truncate(file: Path, stages: Sequence[str], stage_index: int, step: int) -> None:
    """Drops the lines after a saved state, which has done `step` steps of `stages[stage_index]`.

    A run that was killed repeats the steps after the last saved state.
    """
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = []
    for line in lines:
        try:
            entry = json.loads(line)
            is_later = (stages.index(entry["stage"]), entry["step"]) > (stage_index, step)
        except ValueError:  # the run was killed while it wrote this line
            break
        if is_later:
            break
        kept.append(line)
    if len(kept) < len(lines):
        write_atomically(file, "".join(kept).encode())
