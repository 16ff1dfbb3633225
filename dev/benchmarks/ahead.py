"""Measures drawing ahead: passes, the cost of a pass, and time per image, for every window.

`python -m dev.benchmarks.ahead [CHECKPOINT] --precisions auto fp32 int8 fp16 --images 1 3 8` draws the same
images plainly and with each window in alternating turns, and prints a table. Time is processor time of one
thread, or with `--threads` wall clock. A window of 0 is that of the table in `sampling/lookahead.py`. The
last line of each precision is its row for that: the most vectors in a pass of the window that was fastest for
one image, so that a pass over several images reads no more than that.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from janus_core import DEMONSTRATION, GeneratedImages, JanusPipeline, TokenSampling, load_pipeline
from janus_core.training.shapes.prompt_specs import CATEGORIES, paraphrase, random_prompt_spec

from .speed import say

PUBLISHED: dict[str, Any] = {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
HEADER = "| precision | options | images | window | passes | fewer | pass | image | ids equal |"


def prompt(number: int) -> str:
    """Prompts of the demonstration's evaluation, of each category in turn."""
    index, category = divmod(number, len(CATEGORIES))
    rng = random.Random(f"drawing {CATEGORIES[category]} False {index}")
    return paraphrase(random_prompt_spec(CATEGORIES[category], rng).phrase, rng)


def timed(pipe: JanusPipeline, text: str, options: TokenSampling) -> tuple[float, int, torch.Tensor]:
    """Seconds, passes and tokens of a run."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    drawn = pipe.generate(text, options, pixels=False)
    assert isinstance(drawn, GeneratedImages)  # the model draws tokens
    return clock() - start, drawn.passes, drawn.tokens


def measure(pipe: JanusPipeline, images: int, windows: list[int], turns: int, own: bool) -> list[list[float]]:
    """For each window: passes, how many times fewer, cost of a pass and of an image, share of equal runs."""
    runs: dict[int, list[tuple[float, int, torch.Tensor]]] = {window: [] for window in (1, *windows)}
    for turn in range(turns):
        for window, found in runs.items():
            kept = {} if own else PUBLISHED
            options = TokenSampling(batch_size=images, seed=images * turn, lookahead=window or None, **kept)
            found.append(timed(pipe, prompt(turn), options))
    plain, rows = runs[1], []
    for window in windows:
        pairs = list(zip(runs[window], plain, strict=True))
        passes = sum(ahead[1] for ahead, _ in pairs)
        fewer = sum(alone[1] for _, alone in pairs) / passes
        image = median(ahead[0] / alone[0] for ahead, alone in pairs)
        equal = sum(bool(ahead[2].equal(alone[2])) for ahead, alone in pairs) / turns
        rows.append([window, passes / turns, fewer, image * fewer, image, equal])
    return rows


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEMONSTRATION)
    parser.add_argument("--precisions", nargs="+", default=["auto", "fp32", "int8", "fp16"])
    parser.add_argument("--images", nargs="+", type=int, default=[1, 3, 8])
    parser.add_argument("--windows", nargs="+", type=int, default=[2, 3, 4, 8, 16])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    say(HEADER)
    say("|---" * HEADER.count(" | ") + "|---|")
    for precision in options.precisions:
        pipe = load_pipeline(options.checkpoint, "cpu", precision)
        timed(pipe, prompt(0), TokenSampling(lookahead=1))  # warm up
        for own in (True, False):
            for images in options.images:
                rows = measure(pipe, images, options.windows, options.turns, own)
                for window, passes, fewer, cost, image, equal in rows:
                    kind = "its own" if own else "published"
                    say(
                        f"| {precision} | {kind} | {images} | {window:.0f} | {passes:.1f} | {fewer:.2f} x | "
                        f"{cost:.2f} x | {1 / image:.2f} x faster | {equal:.0%} |"
                    )
                named = [row for row in rows if row[0]]
                if images == 1 and not own and named:
                    best = min(named, key=lambda row: row[4])
                    layer = type(pipe.model.body.get_submodule("layers.0.mlp.gate_up_proj")).__name__
                    say(f"\n    {layer}: {2 * best[0]:.0f},\n")


if __name__ == "__main__":
    main()
