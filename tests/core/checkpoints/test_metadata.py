"""Role texts and form of editing: from a checkpoint's files, or by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from janus_nodes.janus_core import load_pipeline
from janus_nodes.janus_core.checkpoints.metadata import detect_edit_form, detect_roles
from support.checkpoints import copy_checkpoint, edit_json
from support.parametrize import slow_except

TAGGED, PLAIN = ("<|User|>", "<|Assistant|>"), ("User", "Assistant")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden checkpoint."""
    return copy_checkpoint("janus-pro-tiny", tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("Janus-Pro-1B", TAGGED),
        ("Janus-Pro-7B", TAGGED),
        ("Janus-1.3B", PLAIN),
        ("JanusFlow-1.3B", PLAIN),
        ("Janus-4o-7B", TAGGED),
        ("Janus-Pro-R1-7B", TAGGED),
        ("T2I-R1", PLAIN),
        ("GoT-R1-7B", PLAIN),
        ("ReasonGen-R1", TAGGED),
        ("deepseek-ai/Janus-Pro-7B", TAGGED),
        ("janus_pro_7b_copy", TAGGED),
    ],
)
def test_role_texts_follow_the_name(folder: Path, name: str, roles: tuple[str, str]) -> None:
    renamed = folder.rename(folder.parent / name.replace("/", "__"))
    assert detect_roles(renamed, None) == roles
    edit_json(renamed / "config.json", lambda config: config.update(_name_or_path=name))
    assert detect_roles(renamed.rename(folder.parent / "x"), None) == roles


def test_role_texts_that_are_written_down_win(folder: Path) -> None:
    renamed = folder.rename(folder.parent / "Janus-Pro-1B")
    assert detect_roles(renamed, "{{ 'User' }}: {{ 'Assistant' }}:") == PLAIN
    assert detect_roles(renamed, "{% if x %}<|User|>{% endif %}") == TAGGED
    edit_json(renamed / "processor_config.json", lambda config: config.update(roles=["Human", "Robot"]))
    assert detect_roles(renamed, "<|User|>") == ("Human", "Robot")


def test_a_name_that_says_nothing_leaves_the_template_its_own(folder: Path) -> None:
    assert detect_roles(folder, None) is None
    assert load_pipeline(folder).prompts.chat.user == "<|User|>"


@pytest.mark.parametrize(
    "file",
    slow_except(
        ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"],
        "tokenizer_config.json",
    ),
)
def test_chat_templates_of_original_checkpoints_tell_nothing(folder: Path, file: str) -> None:
    template = "{% for message in messages %}User: ...{% endfor %}Assistant:"
    if file.endswith(".jinja"):
        (folder / file).write_text(template, encoding="utf-8")
    else:
        path = folder / file
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**content, "chat_template": template}), encoding="utf-8")
    # Only conversions carry the template of their own training; elsewhere it is often another model's.
    assert load_pipeline(folder).prompts.chat.user == "<|User|>"
    edit_json(folder / "config.json", lambda config: config.update(_name_or_path="Janus-1.3B"))
    assert load_pipeline(folder).prompts.chat.user == "User"


def test_editing_is_known_by_the_folder_the_config_or_an_entry(tmp_path: Path, folder: Path) -> None:
    assert detect_edit_form(folder) is None
    assert load_pipeline(folder).edit_form is None
    edit_json(folder / "config.json", lambda config: config.update(_name_or_path="someone/Janus-4o-7B"))
    assert detect_edit_form(folder) == "janus-4o"
    assert detect_edit_form(copy_checkpoint("janus-pro-tiny", tmp_path / "Janus-Pro-R1-7B")) == "janus-pro-r1"
    edit_json(folder / "processor_config.json", lambda config: config.update(edit_form="janus-pro-r1"))
    assert load_pipeline(folder).edit_form == "janus-pro-r1"


@pytest.mark.parametrize("entry", ["janus-5", 3, ["janus-4o"]])
def test_an_unknown_form_of_editing_is_named(folder: Path, entry: object) -> None:
    edit_json(folder / "processor_config.json", lambda config: config.update(edit_form=entry))
    expected = r"edit_form in .*processor_config\.json must be one of janus-pro-r1, janus-4o, got .*; fix or"
    with pytest.raises(ValueError, match=expected):
        load_pipeline(folder)
