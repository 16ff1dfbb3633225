"""The evaluation of a model as JSON, as a Markdown table, and as a contact sheet of generated pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from ..pictures import contact_sheet
from .evaluation import (
    QUESTION_KINDS,
    EvaluatedModel,
    Measure,
    evaluate_answers,
    evaluate_autoencoder,
    evaluate_drawing,
    evaluate_edits,
    evaluate_presence,
    generate_for_category,
    share,
)
from .prompt_specs import CATEGORIES
from .scene import PICTURE_SIZE

# Parts of a report with held-out combinations, and their titles in the table.
_PARTS = {
    "drawings": "Drawing",
    "answers": "Answering",
    "edits_followed": "Edit followed",
    "edits_kept": "Rest kept by edit",
}
# Fields of the options of drawing that say which pictures are drawn, and not how.
_WHICH = ("seed", "batch_size", "lookahead", "denoise")


def evaluate(model: EvaluatedModel, count: int, on_part: Callable[[str], None]) -> dict[str, Any]:
    """Measures everything, with `count` prompts per category and questions per kind.

    `on_part` is called with the name of each part before it starts.
    """
    size = model.pipeline.model.config.generation.image_size
    if size != PICTURE_SIZE:
        raise ValueError(
            f"checkpoint must generate {PICTURE_SIZE} x {PICTURE_SIZE} pixels for this evaluation, got "
            f"{size} x {size}; use one trained by the command box"
        )
    report: dict[str, Any] = {"count": count}
    on_part("image autoencoder")
    report["autoencoder"] = _entries(evaluate_autoencoder(model.pipeline, count))
    on_part("presence of objects")
    report["presence"] = _entries(evaluate_presence(model, 2 * count))
    for held_out, suffix in ((False, ""), (True, "_held_out")):
        on_part("answers" + suffix)
        answers = evaluate_answers(model, QUESTION_KINDS, count, held_out)
        report["answers" + suffix] = _with_overall(answers)
        on_part("drawings" + suffix)
        report["drawings" + suffix] = _with_overall(evaluate_drawing(model, count, held_out))
        if model.pipeline.edit_form:
            on_part("edits" + suffix)
            followed, kept = evaluate_edits(model, count, held_out)
            report["edits_followed" + suffix] = _with_overall(followed)
            report["edits_kept" + suffix] = _with_overall(kept)
    settings = {name: value for name, value in asdict(model.options).items() if name not in _WHICH}
    return report | {"sees": model.sees} | settings


def to_table(report: dict[str, Any]) -> str:
    """Formats a report as a Markdown table."""
    lines = ["| What | Seen combinations | Held-out combinations |", "|---|---|---|"]
    for part, title in _PARTS.items():
        for name in report.get(part, ()):
            cells = [_cell(report[key].get(name)) for key in (part, f"{part}_held_out")]
            lines.append(f"| {title}: {name} | {' | '.join(cells)} |")
    for part, title in (("presence", "Is there …?"), ("autoencoder", "Image autoencoder")):
        lines += [
            f"| {title} {name.replace('_', ' ')} | {_cell(report[part][name])} | |" for name in report[part]
        ]
    return "\n".join(lines)


def drawing_sheet(model: EvaluatedModel, columns: int = 8) -> np.ndarray:
    """Returns generated pictures, one line per category of prompts, as one picture [H, W, 3] uint8."""
    pictures = [
        picture for category in CATEGORIES for picture in generate_for_category(model, category, columns)[1]
    ]
    return contact_sheet(pictures, columns)


def _with_overall(shares: dict[str, Measure]) -> dict[str, Any]:
    entries = _entries(shares)
    hits, total = (sum(entry[name] for entry in entries.values()) for name in ("hits", "total"))
    return entries | _entries({"overall": share(hits, total)})


def _entries(measures: dict[str, Measure]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: round(number, 4) for key, number in asdict(measure).items() if number is not None}
        for name, measure in measures.items()
    }


def _cell(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
