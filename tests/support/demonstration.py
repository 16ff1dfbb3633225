"""Answers and pictures of the built-in demonstration checkpoint, recorded when it is trained.

A test compares them with what the core gives now. After another training, record them again, in `tests/`:
`python -c "import conftest; from support.demonstration import record; record()"`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from janus_nodes.janus_core import DEMONSTRATION, JanusPipeline, TextSampling, TokenSampling, load_pipeline
from janus_nodes.janus_core.training.pictures import contact_sheet, to_images, to_pictures
from janus_nodes.janus_core.training.shapes.drawing import draw_scene
from janus_nodes.janus_core.training.shapes.questions import KINDS, random_question
from janus_nodes.janus_core.training.shapes.scene import random_scene
from PIL import Image

from dev.gpu_session import recorded
from dev.gpu_session.recorded import PROMPTS

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "janus-shapes"
RECORD, PICTURES = FOLDER / "recorded.json", FOLDER / "pictures.png"
OPTIONS = tuple(TokenSampling(**options) for options in recorded.OPTIONS)


def load() -> JanusPipeline:
    """The built-in demonstration checkpoint, in float32."""
    return load_pipeline(DEMONSTRATION, dtype=torch.float32)


def observe(pipe: JanusPipeline) -> tuple[dict[str, Any], np.ndarray]:
    """Answers, image tokens, and a sheet [H, W, 3] uint8 of the generated images."""
    answers = {}
    for kind in KINDS:
        for index in range(2):
            rng = random.Random(f"{kind} {index}")
            while True:
                scene = random_scene(rng)
                try:
                    question = random_question(scene, rng, kind).text
                    break
                except ValueError:  # the scene allows no such question
                    continue
            images = torch.stack(to_images([draw_scene(scene)]))
            (answers[f"{kind} {index}: {question}"],) = pipe.understand(
                images, question, TextSampling(max_new_tokens=48)
            )
    drawn = [pipe.generate(prompt, options) for options in OPTIONS for prompt in PROMPTS]
    encoded = pipe.encode_tokens(drawn[0].images)
    observed = {
        "answers": answers,
        "tokens": [result.tokens[0].tolist() for result in drawn],
        "encoded": encoded[0].tolist(),
    }
    return observed, contact_sheet([to_pictures(result.images)[0] for result in drawn], len(PROMPTS))


def record() -> None:
    """Records what the checkpoint answers and generates now."""
    torch.set_num_threads(1)
    observed, sheet = observe(load())
    FOLDER.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(observed, indent=1) + "\n", encoding="utf-8")
    Image.fromarray(sheet).save(PICTURES)
