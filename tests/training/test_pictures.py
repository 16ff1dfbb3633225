"""Image tokens for training."""

from __future__ import annotations

import random

import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.training.pictures import image_tokens, to_images
from janus_nodes.janus_core.training.shapes.data import ShapesData


def test_image_tokens_do_not_depend_on_autocast(pipe: JanusPipeline) -> None:
    images = to_images([ShapesData().picture(random.Random(index)) for index in range(2)])
    expected = pipe.encode_tokens(torch.stack(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(image_tokens(pipe, images), expected)
        pixels = pipe.image_processor.pixels(images)
        assert not torch.equal(pipe.model.generation.encode(pixels), expected)  # what is to be avoided
