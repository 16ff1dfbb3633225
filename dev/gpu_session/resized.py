"""A pipeline whose model is replaced by one of other sizes.

The core is not imported here: the tests load it under another name than `janus_core`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from janus_core import JanusPipeline
    from janus_core.models.janus import Janus


def resized(pipe: JanusPipeline, model: Janus, device: torch.device | str) -> JanusPipeline:
    """A pipeline with this model, which computes on a device, and the tokenizer of another one."""
    body, vision = model.config.body, model.config.understanding.vision
    prompts = replace(
        pipe.prompts,
        num_image_tokens=vision.num_positions,
        vocab_size=body.vocab_size,
        max_length=body.max_position_embeddings,
    )
    processor = replace(pipe.image_processor, image_size=vision.image_size)
    return replace(pipe, model=model, prompts=prompts, image_processor=processor, device=torch.device(device))
