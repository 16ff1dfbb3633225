"""Times a look at the velocity field with the prompt read once against one that reads it again.

Real sizes, random weights: `python tests/benchmarks/flow_prefix.py [looks] [prompt tokens]`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from peer import filled  # noqa: E402

from janus_core.checkpoints.configs_flow import from_flow  # noqa: E402
from janus_core.inputs import PromptBatch  # noqa: E402
from janus_core.models.janus import Janus  # noqa: E402
from janus_core.sampling.flow import VelocityField  # noqa: E402


def main(looks: int = 3, prompt_tokens: int = 64) -> None:
    """Prints the median seconds per look, both ways."""
    file = ROOT / "tests" / "golden" / "real_configs" / "JanusFlow-1.3B.config.json"
    config = from_flow(json.loads(file.read_text(encoding="utf-8")))
    dtype = torch.float32
    with torch.device("meta"):
        model = Janus(config).to(dtype).eval().requires_grad_(False)
    filled(model, "cpu")
    prompt = PromptBatch.from_rows([[1] * prompt_tokens] * 2, 0, -1)
    latents = torch.randn(1, *config.generation.latent_shape)
    reused = VelocityField(model, prompt, 2.0, images=1)
    seconds: dict[str, list[float]] = {"read once": [], "read again": []}
    for index in range(looks + 1):
        for name in seconds:
            start = time.perf_counter()
            field = reused if name == "read once" else VelocityField(model, prompt, 2.0, images=1)
            field(latents, 0.5)
            if index:  # the first of each warms up
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        sys.stdout.write(f"prompt {name}, {dtype}: {statistics.median(values):.2f} s per look\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
