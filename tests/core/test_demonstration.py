"""The checkpoint that comes with the package: whole, small, and of the size that the examples count on."""

from __future__ import annotations

import torch
from janus_nodes.janus_core import (
    DEMONSTRATION,
    TextSampling,
    TokenSampling,
    load_pipeline,
    missing_files,
)
from janus_nodes.janus_core.presets import TAGGED_ROLES

MAX_BYTES = 25_000_000


def test_it_is_whole_and_small_and_holds_no_pickle() -> None:
    assert missing_files(DEMONSTRATION) == []
    files = list(DEMONSTRATION.iterdir())
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES


def test_it_draws_and_answers() -> None:
    pipe = load_pipeline(DEMONSTRATION, dtype=torch.float32)
    assert (pipe.prompts.chat.user, pipe.prompts.chat.assistant) == TAGGED_ROLES
    drawn = pipe.generate("a red star left of a blue circle", TokenSampling(seed=1))
    assert drawn.images.shape == (1, 96, 96, 3)
    assert drawn.tokens.shape == (1, 36)
    assert pipe.encode_tokens(drawn.images).shape == (1, 36)
    (answer,) = pipe.understand(drawn.images, "Where is the star?", TextSampling(max_new_tokens=8))
    assert isinstance(answer, str)
