"""Pictures to what the body sees, and to the tokens that it draws."""

from __future__ import annotations

import random

import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.training.pictures import to_images
from janus_nodes.janus_core.training.vision import image_tokens, whiten_inputs
from janus_nodes.janus_core.training.world.data import WorldData


def test_tokens_do_not_depend_on_what_products_are_computed_in(pipe: JanusPipeline) -> None:
    images = to_images([WorldData().picture(random.Random(index)) for index in range(2)])
    expected = pipe.encode_tokens(torch.stack(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(image_tokens(pipe, images), expected)
        pixels = pipe.image_processor.pixels(images)
        assert not torch.equal(pipe.model.generation.encode(pixels), expected)  # what is to be avoided


def test_a_whitened_layer_tells_faint_directions_as_loudly_as_others() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 400).requires_grad_(False)
    torch.nn.init.normal_(layer.weight, std=3**-0.5)
    turn = torch.linalg.qr(torch.randn(3, 3)).Q
    inputs = torch.randn(5000, 3) * torch.tensor([10.0, 1.0, 0.3]) @ turn + torch.tensor([5.0, -2.0, 1.0])
    before = torch.linalg.svdvals(torch.cov(layer(inputs).T))[:3]
    whiten_inputs(layer, inputs, floor=1e-6)
    after = torch.linalg.svdvals(torch.cov(layer(inputs).T))[:3]
    assert before[0] / before[2] > 500
    assert after[0] / after[2] < 1.5
    assert layer(inputs).mean(dim=0).abs().max() < 1e-4
    assert abs(float(layer(inputs).var()) - 1) < 0.2
