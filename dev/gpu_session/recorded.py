"""What is drawn with the demonstration when its results are recorded, for a session and for the tests.

These are plain values: the tests load the core under another name than `janus_core`.
"""

from __future__ import annotations

from typing import Any

PROMPTS = (
    "a red star",
    "three green triangles on a white background",
    "a blue circle left of a yellow cross",
    "a pink ring and an orange square",
)
# Arguments of `TokenSampling`; each is used for all prompts, in this order.
OPTIONS: tuple[dict[str, Any], ...] = (
    {"guidance_scale": 5.0, "temperature": 0.0, "top_p": 1.0},
    {"guidance_scale": 5.0, "temperature": 1.0, "top_p": 1.0, "seed": 11},
    {"guidance_scale": 1.0, "temperature": 0.7, "top_k": 40, "top_p": 0.95, "seed": 3},
)
