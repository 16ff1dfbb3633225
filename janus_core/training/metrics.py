"""The losses of a run, a line of JSON for each step."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ..file_io import write_atomically


def note(file: Path, stage: str, step: int, losses: dict[str, float]) -> None:
    """Adds the line of a step."""
    rounded = {name: round(value, 5) for name, value in losses.items()}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"stage": stage, "step": step, **rounded}) + "\n")


def ends(file: Path, steps: int = 50) -> dict[str, dict[str, float]]:
    """Mean losses of the last steps of each stage."""
    stages: dict[str, deque[dict[str, float]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        losses = json.loads(line)
        losses.pop("step")
        stages.setdefault(losses.pop("stage"), deque(maxlen=steps)).append(losses)
    return {
        stage: {name: round(fmean(losses[name] for losses in last), 5) for name in last[-1]}
        for stage, last in stages.items()
    }


def trim(file: Path, stages: Sequence[str], reached: tuple[int, int]) -> None:
    """Drops the lines behind a saved state: a run that was killed does these steps again.

    Args:
        file: may be missing.
        stages: names in order.
        reached: index of the state's stage, and the steps that it has done.
    """
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = []
    for line in lines:
        try:
            noted = json.loads(line)
            behind = (stages.index(noted["stage"]), noted["step"]) > reached
        except ValueError:  # broken off while it was written
            break
        if behind:
            break
        kept.append(line)
    if len(kept) < len(lines):
        write_atomically(file, "".join(kept).encode())
