"""Classifier-free guidance: the formulas, and scales that need fewer conditions."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.sampling.guidance import guide, guide_edit, uses_guidance, uses_source
from transformers import ClassifierFreeGuidanceLogitsProcessor


@pytest.mark.parametrize("scale", [1.5, 5.0, 20.0])
def test_formula_equals_transformers(scale: float) -> None:
    outputs = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    expected = ClassifierFreeGuidanceLogitsProcessor(scale)(torch.zeros(3, 1, dtype=torch.long), outputs)
    torch.testing.assert_close(guide(outputs, scale), expected, rtol=0, atol=1e-5)


def test_scale_one_needs_the_conditional_outputs_only() -> None:
    outputs = torch.randn(3, 40)
    assert not uses_guidance(1.0)
    assert torch.equal(guide(outputs, 1.0), outputs)


def test_scale_zero_is_the_unconditional_output() -> None:
    outputs = torch.randn(6, 40)
    assert uses_guidance(0.0)
    assert torch.equal(guide(outputs, 0.0), outputs[3:])


def test_edits_mix_full_and_partial_condition_before_guidance() -> None:
    full, part, uncond = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(1))
    found = guide_edit(torch.cat((full, part, uncond)), 4.0, 3.0)
    cond = (full + 3.0 * part) / 4.0
    torch.testing.assert_close(found, uncond + 4.0 * (cond - uncond))
    assert torch.equal(guide_edit(torch.cat((full, part)), 1.0, 3.0), cond)


def test_source_scale_zero_needs_no_partial_condition() -> None:
    outputs = torch.randn(4, 40)
    assert not uses_source(0.0)
    assert uses_source(0.1)
    assert torch.equal(guide_edit(outputs, 3.0, 0.0), guide(outputs, 3.0))
    assert torch.equal(guide_edit(outputs, 1.0, 0.0), outputs)
