"""The full model: image embeddings at their positions, and parameters in leaf modules only."""

from __future__ import annotations

import torch
from janus_nodes.janus_core.config import TokenGenerationConfig
from janus_nodes.janus_core.models.janus import GENERATION_CLASSES
from janus_nodes.janus_core.prompt_batch import PromptBatch
from janus_nodes.janus_core.sampling.image_sampler import IMAGE_SAMPLERS
from support.checkpoints import random_model, small_config


def test_images_replace_their_positions_in_reading_order() -> None:
    model = random_model(small_config())
    rows = [[1, 9, 9, 2, 9, 9], [9, 9, 3, 9, 9]]
    prompt = PromptBatch.from_rows(rows, pad_id=9, image_id=9)
    assert prompt.image_mask.sum(dim=1).tolist() == [4, 4]
    embeds = torch.arange(8.0)[:, None].expand(8, 80)
    inputs = model.embed_prompt(prompt, embeds.view(2, 2, 2, 80))
    assert inputs[prompt.image_mask][:, 0].tolist() == list(range(8))
    text = model.body.embed_tokens(prompt.input_ids)
    assert torch.equal(inputs[~prompt.image_mask], text[~prompt.image_mask])
    assert torch.equal(model.embed_prompt(prompt), text)


def test_learned_tensors_lie_in_leaves_only() -> None:
    model = random_model(small_config())
    for name, module in model.named_modules():
        if list(module.children()):
            assert not list(module.parameters(recurse=False)), name
    assert list(model.buffers()) == []


def test_every_kind_of_generation_has_a_module_and_a_sampler() -> None:
    assert TokenGenerationConfig in GENERATION_CLASSES
    assert set(GENERATION_CLASSES.values()) == set(IMAGE_SAMPLERS)
