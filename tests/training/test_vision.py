"""Pictures to what the body sees, and to the tokens that it draws."""

from __future__ import annotations

import random

import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.training.pictures import to_images
from janus_nodes.janus_core.training.vision import image_tokens
from janus_nodes.janus_core.training.world.data import WorldData


def test_tokens_do_not_depend_on_what_products_are_computed_in(pipe: JanusPipeline) -> None:
    images = to_images([WorldData().picture(random.Random(index)) for index in range(2)])
    expected = pipe.encode_tokens(torch.stack(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(image_tokens(pipe, images), expected)
        pixels = pipe.image_processor.pixels(images)
        assert not torch.equal(pipe.model.generation.encode(pixels), expected)  # what is to be avoided
