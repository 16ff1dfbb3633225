"""The demonstration model describes first in the words of its world, and its drawings stay right."""

from __future__ import annotations

import random

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TokenSampling
from janus_nodes.janus_core.training.pictures import to_pictures
from janus_nodes.janus_core.training.shapes.drawing import read_picture
from janus_nodes.janus_core.training.shapes.prompt_specs import random_prompt_spec

COUNT = 8


@pytest.mark.slow
def test_described_drawings_are_right_and_rounds_never_lower_the_score(shapes_pipe: JanusPipeline) -> None:
    spec = random_prompt_spec("colours", random.Random(3))
    options = TokenSampling(batch_size=COUNT, seed=1)
    drawn = shapes_pipe.think_and_draw(spec.phrase, options=options)
    assert len(set(drawn.thoughts)) == 1  # its descriptions are greedy
    assert not drawn.thoughts[0].is_cut
    right = [spec.is_satisfied_by(read_picture(picture)) for picture in to_pictures(drawn.images)]
    assert sum(right) >= COUNT - 1
    assert drawn.verdicts is not None
    kept = drawn.verdicts[torch.arange(COUNT), drawn.kept]
    assert bool((kept >= drawn.verdicts[:, 0]).all())
    once = shapes_pipe.think_and_draw(spec.phrase, options=options, rounds=0)
    assert torch.equal(once.tokens, drawn.first_tokens)
