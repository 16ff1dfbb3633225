"""Which conditions of a form the edits of a batch are trained under."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.processing.edit_forms import EDIT_FORMS, EditForm
from janus_nodes.janus_core.training.editing import DEFAULT_FORM, edit_batch, edit_form
from janus_nodes.janus_core.training.samples import EditSample
from janus_nodes.janus_core.training.sequences import edit_sequence

PICTURE = np.zeros((8, 8, 3), np.uint8)


def conditions(pipe: JanusPipeline, form: EditForm, instruction: str, copies: bool = False) -> list[int]:
    """How often each condition is taken by 30 edits, 0.3 of them unconditional."""
    editor = replace(pipe, edit_form=form.name)
    samples = [EditSample(PICTURE, instruction, PICTURE, copies)] * 30
    batch = edit_batch(editor, samples, 0.3, random.Random(1))
    named = [edit_sequence(editor, instruction, form, index) for index in range(len(form.conditions))]
    found = Counter(named.index(sequence) for sequence in batch.sequences)
    return [found[index] for index in range(len(form.conditions))]


@pytest.mark.parametrize("form", EDIT_FORMS.values(), ids=lambda form: form.name)
def test_conditions_have_their_shares(form: EditForm, pipe: JanusPipeline) -> None:
    *others, unconditional = conditions(pipe, form, "Make it red.")
    assert 4 <= unconditional <= 15 and min(others) > 5


def test_without_words_an_image_is_not_copied_from_its_tokens(pipe: JanusPipeline) -> None:
    full, partial, unconditional = conditions(pipe, EDIT_FORMS["janus-4o"], "")
    assert full == 0 and partial >= 15 and 4 <= unconditional <= 15


def test_copies_always_have_the_tokens(pipe: JanusPipeline) -> None:
    for instruction in ("Keep it.", ""):
        full, partial, unconditional = conditions(pipe, EDIT_FORMS["janus-4o"], instruction, copies=True)
        assert full >= 15 and partial == 0 and 4 <= unconditional <= 15


def test_a_model_without_a_form_learns_the_default_one(pipe: JanusPipeline) -> None:
    assert edit_form(replace(pipe, edit_form=None)).name == DEFAULT_FORM
    assert edit_form(replace(pipe, edit_form="janus-pro-r1")).name == "janus-pro-r1"
