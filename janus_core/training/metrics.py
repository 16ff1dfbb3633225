"""The metrics file of a run: the losses of each step as one line of JSON."""

from __future__ import annotations

import json
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
    entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    means = {}
    for stage in dict.fromkeys(entry["stage"] for entry in entries):
        last = [entry for entry in entries if entry["stage"] == stage][-steps:]
        _, _, *names = last[-1]  # after "stage" and "step"
        means[stage] = {name: round(fmean(entry[name] for entry in last), 5) for name in names}
    return means


def truncate(file: Path, stages: Sequence[str], stage_index: int, step: int) -> None:
    """Drops the lines after a saved state, which has done `step` steps of `stages[stage_index]`."""
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
