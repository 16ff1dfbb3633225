"""The evaluation of a model as one report: numbers for programs, a table for readers, a sheet of pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...pipeline.pipeline import JanusPipeline
from ...sampling.options import TokenSampling
from ..pictures import grid
from .evaluation import (
    QUESTION_KINDS,
    Measure,
    Share,
    draw_wish,
    evaluate_answers,
    evaluate_drawing,
    evaluate_presence,
    evaluate_tokenizer,
)
from .prompt_specs import CATEGORIES
from .scene import SIDE

OnPart = Callable[[str], None]

# What drawings are measured with: fields of `TokenSampling`.
DRAWN_WITH = ("guidance_scale", "temperature", "top_p")


def evaluate(
    pipeline: JanusPipeline, count: int, options: TokenSampling, sees: str, on_part: OnPart
) -> dict[str, Any]:
    """Everything that can be measured in the drawn world.

    Args:
        pipeline: a model that speaks the world's words.
        count: prompts per category and questions per kind.
        options: temperature, guidance and top-p of the drawings.
        sees: how pictures are seen, a key of `vision.SEES`.
        on_part: told of each part before it starts.

    Raises:
        ValueError: if the model draws pictures of another size than the world's.
    """
    size = pipeline.model.config.generation.image_size
    if size != SIDE:
        raise ValueError(
            f"checkpoint must draw {SIDE} x {SIDE} pixels for the drawn world, got {size} x {size}; "
            "use one that the command box trained"
        )
    on_part("image tokenizer")
    report: dict[str, Any] = {"count": count}
    report["tokenizer"] = _summaries(evaluate_tokenizer(pipeline, count))
    on_part("presence of objects")
    report["presence"] = _summaries(evaluate_presence(pipeline, 2 * count, sees))
    for held_out, suffix in ((False, ""), (True, "_held_out")):
        on_part("answers" + suffix)
        report["answers" + suffix] = _with_overall(
            evaluate_answers(pipeline, QUESTION_KINDS, count, held_out, sees)
        )
        on_part("drawings" + suffix)
        report["drawings" + suffix] = _with_overall(evaluate_drawing(pipeline, count, options, held_out))
    report["sees"] = sees
    for name in DRAWN_WITH:
        report[name] = getattr(options, name)
    return report


def to_table(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    lines = ["| What | Seen combinations | Held-out combinations |", "|---|---|---|"]
    for part, title in (("drawings", "Drawing"), ("answers", "Answering")):
        for name in report[part]:
            cells = [_cell(report[key].get(name)) for key in (part, f"{part}_held_out")]
            lines.append(f"| {title}: {name} | {' | '.join(cells)} |")
    for part, title in (("presence", "Is there …?"), ("tokenizer", "Image tokenizer")):
        lines += [
            f"| {title} {name.replace('_', ' ')} | {_cell(report[part][name])} | |" for name in report[part]
        ]
    return "\n".join(lines)


def drawing_sheet(pipeline: JanusPipeline, options: TokenSampling, columns: int = 8) -> np.ndarray:
    """A row of drawings for each category of prompts, [H, W, 3] uint8."""
    pictures = [
        draw_wish(pipeline, category, index, options)[1]
        for category in CATEGORIES
        for index in range(columns)
    ]
    return grid(pictures, columns)


def _with_overall(shares: dict[str, Share]) -> dict[str, Any]:
    overall = Share(
        sum(share.hits for share in shares.values()), sum(share.total for share in shares.values())
    )
    return _summaries({**shares, "overall": overall})


def _summaries(measures: Mapping[str, Measure]) -> dict[str, Any]:
    return {name: measure.summary() for name, measure in measures.items()}


def _cell(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
