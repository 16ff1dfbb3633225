"""Helpers of the tests of editing."""

from __future__ import annotations

import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline
from janus_nodes.janus_core.pipeline.edit_request import EditRequest
from janus_nodes.janus_core.pipeline.editing import EditSource, embed_sources, instruction_prompt
from torch import Tensor

from .sampling import published

TOLERANCE = 2e-4


def plan(
    pipe: JanusPipeline, image: Tensor, instruction: str, options: EditSampling, form: str = "janus-4o"
) -> EditSource:
    """The prompt of an edit of [H, W, C], ready to be drawn."""
    request = EditRequest(image[None], instruction, published(options), form, None)
    return embed_sources(pipe, request, instruction_prompt(pipe, request), [0])


def close(found: Tensor, expected: Tensor) -> None:
    """Compares numbers with the reference's."""
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
