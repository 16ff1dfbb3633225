"""Measures what redrawing part of a tile of an enlarged image costs and gains, with the demonstration model.

python -m dev.benchmarks.tiles
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from janus_core import DEMONSTRATION, EditSampling, TokenSampling, load_pipeline

COUNT = 20
COLOURS, SHAPES = ("red", "green", "yellow"), ("circle", "square", "triangle")


def enlarged(image: Tensor) -> Tensor:
    """An image [H, W, 3] at twice its size, by a bicubic filter."""
    larger = F.interpolate(image.movedim(-1, 0)[None], scale_factor=2, mode="bicubic", antialias=True)
    return larger[0].movedim(0, -1).clamp(0, 1)


def steepness(image: Tensor) -> float:
    """The mean of the 80 largest differences between neighbouring pixels of a row."""
    grey = image.mean(dim=-1)
    return float((grey[:, 1:] - grey[:, :-1]).abs().flatten().topk(80).values.mean())


def main() -> None:
    """Prints the share of right tiles, the steepness of edges, and seconds."""
    pipe = load_pipeline(DEMONSTRATION)
    mask = torch.zeros(96, 96)
    mask[32:, 32:] = 1
    right, ratios, drawing, redrawing = 0, [], [], []
    for seed in range(COUNT):
        start = time.perf_counter()
        prompt = "a red circle in the top left on a white background"
        images = pipe.generate(prompt, TokenSampling(seed=seed)).images
        assert images is not None  # only a flow may have none
        drawing.append(time.perf_counter() - start)

        shape = f"a {COLOURS[seed % 3]} {SHAPES[seed // 3 % 3]}"
        tile = enlarged(images[0])[96:, 96:]
        start = time.perf_counter()
        prompt = f"{shape} in the bottom right on a white background"
        redrawn = pipe.edit(tile, prompt, EditSampling(seed=seed), mask=mask).images
        redrawing.append(time.perf_counter() - start)

        right += int(pipe.score(redrawn, shape)[0] > 0.5)
        ratios.append(steepness(redrawn[0]) / steepness(enlarged(redrawn[0])))
    seconds = f"{statistics.median(drawing):.2f} s to draw, {statistics.median(redrawing):.2f} s to redraw"
    sys.stdout.write(
        f"{right} of {COUNT} right by the model's own score; "
        f"edges {statistics.median(ratios):.2f} x as steep as enlarged; {seconds}\n"
    )


if __name__ == "__main__":
    main()
