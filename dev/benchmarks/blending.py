"""Measures the feathered border of inpainting: `.venv/bin/python -m dev.benchmarks.blending`.

Compares the weights as `pipeline/inpainting.py` computes them with their definition on the whole image, by
turns, for a small and a full mask in an image of 12 megapixels, and prints medians in seconds of CPU time.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from janus_core.processing.masks import FEATHER, bounding_box, feather_radius, feather_weights

SIZE, SIDE, TURNS = (3000, 4000), 384, 3


def whole(area: Tensor) -> Tensor:
    """The definition: erosions of the whole image, divided by the highest level nearby."""
    radius = feather_radius(*SIZE, SIDE)
    inside = area.float()[None, None]
    levels = inside.clone()
    for _ in range(FEATHER - 1):
        inside = -dilate(-inside, radius)
        levels += inside
    return (levels / dilate(levels, FEATHER * radius).clamp(min=1.0))[0, 0]


def dilate(values: Tensor, radius: int) -> Tensor:
    """The maximum over the square of this radius around each pixel."""
    columns = F.max_pool2d(values, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(columns, (1, 2 * radius + 1), stride=1, padding=(0, radius))


def boxed(area: Tensor) -> Tensor:
    """The same within the bounding box, by maxima over doubled windows."""
    return feather_weights(area[bounding_box(area)], feather_radius(*SIZE, SIDE))


def cpu_seconds(work: Callable[[Tensor], Tensor], area: Tensor) -> float:
    """Seconds of CPU time of one call."""
    start = time.process_time()
    work(area)
    return time.process_time() - start


def main() -> None:
    """Measures both by turns."""
    small, full = torch.zeros(SIZE, dtype=torch.bool), torch.ones(SIZE, dtype=torch.bool)
    small[1000:1400, 1500:2000] = True
    for name, area in (("small", small), ("full", full)):
        times = [(cpu_seconds(whole, area), cpu_seconds(boxed, area)) for _ in range(TURNS)]
        before, after = (statistics.median(column) for column in zip(*times, strict=True))
        sys.stdout.write(f"{name} mask: {before:.2f} s on the whole image, {after:.3f} s within the box\n")


if __name__ == "__main__":
    main()
