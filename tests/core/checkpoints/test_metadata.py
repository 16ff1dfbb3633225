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


def roles_of(folder: Path, template: str | None = None) -> tuple[str, str] | None:
    """The role texts that are found."""
    found = detect_roles(folder, template)
    return found and found.texts


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
        ("OSPO-Janus-1B", TAGGED),
        ("Janus-FocusDiff-7B", TAGGED),
        ("somebody/My-Janus-7B", TAGGED),
        ("Janus-Pro-CXR-Zero", PLAIN),
        ("Janus-Pro-CXR-Final", PLAIN),
        ("geneval_ours", PLAIN),
        ("hps_gdino_git_ours", PLAIN),
        ("ocr_ours", PLAIN),
        ("Janus-Pro-1B-stage2", TAGGED),
    ],
)
def test_role_texts_follow_the_name(folder: Path, name: str, roles: tuple[str, str]) -> None:
    renamed = folder.rename(folder.parent / name.replace("/", "__"))
    assert roles_of(renamed) == roles
    edit_json(renamed / "config.json", lambda config: config.update(_name_or_path=name))
    assert roles_of(renamed.rename(folder.parent / "x")) == roles


@pytest.mark.parametrize(
    ("place", "config", "roles", "source"),
    [
        # A fine-tune's config.json often names its base, and its repository may hold several folders.
        ("OSPO-Janus-1B", "Janus-1.3B", TAGGED, "the folder's name, 'OSPO-Janus-1B'"),
        ("Janus-Pro-7B", "T2I-R1", PLAIN, "the name in config.json, 'T2I-R1'"),
        ("STAGE/newest", "Janus-Pro-7B", PLAIN, "the name of the folder around it, 'STAGE'"),
        ("models--krennic--STAGE/snapshots/0a1b/newest", "", PLAIN, "the name of the folder around it, '"),
        ("models--x--GoT-R1-7B/snapshots/0a1b", "Janus-Pro-7B", PLAIN, "the folder's name, 'models--x--GoT"),
        ("Janus-1.3B/checkpoint-500", "", PLAIN, "the name of the folder around it, 'Janus-1.3B'"),
        ("Janus-Pro/checkpoint-500", "Janus-1.3B", PLAIN, "the name in config.json, 'Janus-1.3B'"),
        ("T2I-R1/Janus-Pro-7B", "", TAGGED, "the folder's name, 'Janus-Pro-7B'"),
    ],
)
def test_the_name_that_says_most_tells(
    tmp_path: Path, place: str, config: str, roles: tuple[str, str], source: str
) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / place)
    edit_json(folder / "config.json", lambda content: content.update(_name_or_path=config))
    found = detect_roles(folder, None)
    assert found is not None and found.texts == roles
    assert found.source.startswith(source)


def test_role_texts_that_are_written_down_win(folder: Path) -> None:
    renamed = folder.rename(folder.parent / "Janus-Pro-1B")
    assert roles_of(renamed, "{{ 'User' }}: {{ 'Assistant' }}:") == PLAIN
    assert roles_of(renamed, "{% if x %}<|User|>{% endif %}") == TAGGED
    edit_json(renamed / "processor_config.json", lambda config: config.update(roles=["Human", "Robot"]))
    assert roles_of(renamed, "<|User|>") == ("Human", "Robot")


def test_a_pipeline_knows_what_told_its_role_texts(folder: Path) -> None:
    assert load_pipeline(folder).roles_from == ""
    assert load_pipeline(folder, template="plain").roles_from == "the arguments"
    edit_json(folder / "processor_config.json", lambda config: config.update(roles=["Human", "Robot"]))
    assert load_pipeline(folder).roles_from == "its processor_config.json"


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
