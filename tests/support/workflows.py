"""The example workflows, and which nodes show texts or images."""

from __future__ import annotations

import json
from typing import Any

from dev.comfyui.tree import REPO_ROOT
from dev.demo import runnable

FOLDER = REPO_ROOT / "workflows"
WORKFLOWS = sorted(path.stem for path in FOLDER.glob("*.json"))
RUNNABLE = sorted(runnable(FOLDER))
# Nodes that show texts on themselves, that show images, that seldom show texts, and that save images.
SAYS = {
    *("JanusAsk", "JanusBestOf", "JanusCaptionFolder", "JanusChoose", "JanusScore", "JanusThinkAndDraw"),
    "JanusUnderstand",
}
DRAWS = {"JanusAsk", "JanusBestOf", "JanusEdit", "JanusGenerate", "JanusThinkAndDraw"}
NOTES = {"JanusEdit", "JanusLoad"}
SAVES = {"PreviewImage", "SaveImage"}

# A workflow saved before values of its combos were renamed, and the present names of these values.
FORMER_VALUES = REPO_ROOT / "tests" / "e2e" / "data" / "janus_chat_former_values.json"
RENAMED = {
    "go on with its turns": "continue",
    "ask afresh about its images": "start over, keep the images",
}


def read(name: str) -> dict[str, Any]:
    """The workflow of that name."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
