"""What tests of editing by instruction share."""

from __future__ import annotations

import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline
from janus_nodes.janus_core.pipeline.editing import EditPlan, plan_instruction
from janus_nodes.janus_core.processing.edit_forms import EDIT_FORMS
from torch import Tensor

TOLERANCE = 2e-4


def plan(
    pipe: JanusPipeline, image: Tensor, instruction: str, options: EditSampling, form: str = "janus-4o"
) -> EditPlan:
    """An edit of [H, W, C] that is ready to be drawn."""
    parts = (pipe.model, pipe.prompts, pipe.image_processor, pipe.device)
    return plan_instruction(*parts, image[None], instruction, options, EDIT_FORMS[form])


def close(found: Tensor, expected: Tensor) -> None:
    """Compares numbers with the reference's."""
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)
