"""The losses of a run, a line of JSON for each step."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path


def note(file: Path, stage: str, step: int, losses: dict[str, float]) -> None:
    """Adds the line of a step."""
    rounded = {name: round(value, 5) for name, value in losses.items()}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"stage": stage, "step": step, **rounded}) + "\n")


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
        partial = file.with_name(f"{file.name}.partial")
        partial.write_text("".join(kept), encoding="utf-8")
        os.replace(partial, file)
