"""Tables of released models: pinned revisions, complete sizes, and known edit forms."""

from __future__ import annotations

import re

from janus_nodes.janus_core import RELEASES
from janus_nodes.janus_core.presets import (
    EDIT_FORMS_BY_NAME,
    THINKING_FORMS_BY_NAME,
    VISION_TOWERS,
    edit_form_by_name,
    roles_by_name,
    thinking_form_by_name,
)
from janus_nodes.janus_core.processing.edit_forms import EDIT_FORMS
from janus_nodes.janus_core.processing.thinking_forms import THINKING_FORMS


def test_releases_are_pinned_to_a_commit() -> None:
    for name, release in RELEASES.items():
        assert release.name == name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", release.repo_id)
        assert re.fullmatch(r"[0-9a-f]{40}", release.revision)
        assert release.num_bytes > 10**9
        assert roles_by_name(name) == (("<|User|>", "<|Assistant|>"), name)


def test_towers_have_every_size() -> None:
    for sizes in VISION_TOWERS.values():
        assert sizes.keys() == {"width", "layers", "heads", "mlp_ratio", "patch_size"}
        assert sizes["width"] % sizes["heads"] == 0


def test_unknown_names_have_no_roles() -> None:
    assert roles_by_name("llava-7b") is None
    assert roles_by_name("") is None


def test_checkpoints_that_edit_are_recognised_by_name() -> None:
    assert {form for _, form in EDIT_FORMS_BY_NAME} == EDIT_FORMS.keys()
    for form in EDIT_FORMS.values():
        assert edit_form_by_name(form.checkpoint) == form.name
        assert edit_form_by_name(f"models--someone--{form.checkpoint}") == form.name
    for name in ("Janus-Pro-7B", "Janus-Pro-1B", "Janus-1.3B", "ReasonGen-R1", "T2I-R1", ""):
        assert edit_form_by_name(name) is None


def test_checkpoints_that_think_are_recognised_by_name() -> None:
    trained = [form for form in THINKING_FORMS.values() if form.checkpoint]
    assert {form for _, form in THINKING_FORMS_BY_NAME} == {form.name for form in trained}
    for form in trained:
        assert thinking_form_by_name(form.checkpoint) == form.name
        assert thinking_form_by_name("x", f"someone/{form.checkpoint}") == form.name
    for name in ("Janus-Pro-7B", "Janus-4o-7B", "Janus-1.3B", ""):
        assert thinking_form_by_name(name) is None
