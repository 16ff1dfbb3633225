"""Role texts and forms that a checkpoint was trained with, from its files or its name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..file_io import read_json, read_json_if_present, read_text
from ..presets import (
    EDIT_FORMS_BY_NAME,
    PLAIN_ROLES,
    TAGGED_ROLES,
    THINKING_FORMS_BY_NAME,
    edit_form_by_name,
    roles_by_name,
    thinking_form_by_name,
)


@dataclass(frozen=True)
class DetectedRoles:
    """Texts of the user and assistant roles that a checkpoint was trained with.

    Attributes:
        texts: of user and assistant.
        source: where they were found, for the user to read after "by".
    """

    texts: tuple[str, str]
    source: str


def detect_roles(folder: Path, template: str | None) -> DetectedRoles | None:
    """Finds the texts of the user and assistant roles; None if they are unknown.

    Looked up in this order: the `roles` entry of `processor_config.json`, which only this package writes; the
    Jinja chat template of the training, if known; the names of the folder, in `config.json`, and of the
    folder around it, since some repositories hold several checkpoints in folders.
    """
    roles = read_json_if_present(folder / "processor_config.json").get("roles")
    if roles is not None:
        if not isinstance(roles, list) or len(roles) != 2 or not all(isinstance(role, str) for role in roles):
            raise ValueError(
                f"roles in {folder / 'processor_config.json'} must be two texts, of user and assistant, got "
                f"{roles!r}; fix or remove the entry"
            )
        return DetectedRoles((roles[0], roles[1]), "its processor_config.json")
    if template:
        texts = TAGGED_ROLES if TAGGED_ROLES[0] in template else PLAIN_ROLES
        return DetectedRoles(texts, "its chat template")
    own, config = _names(folder)
    around = _repository(_repository(folder).parent).name
    found = roles_by_name(own, config, around)
    if found is None:
        return None
    texts, name = found
    # If names are equal, the folder's own one is reported.
    places = {around: "the name of the folder around it", config: "the name in config.json"}
    places[own] = "the folder's name"
    return DetectedRoles(texts, f"{places[name]}, {name!r}")


def detect_edit_form(folder: Path) -> str | None:
    """Finds how a checkpoint was trained to edit images by instruction; None if it is not known to be."""
    return _detect_form(folder, "edit_form", EDIT_FORMS_BY_NAME, edit_form_by_name)


def detect_thinking_form(folder: Path) -> str | None:
    """Finds how a checkpoint was trained to think about what it draws; None if it is not known to be."""
    return _detect_form(folder, "thinking_form", THINKING_FORMS_BY_NAME, thinking_form_by_name)


def _detect_form(
    folder: Path, entry: str, table: Sequence[tuple[str, str]], by_name: Callable[..., str | None]
) -> str | None:
    """Looks a form up.

    In this order: the entry of `processor_config.json`, which only this package writes; the folder's name and
    the one in `config.json`.
    """
    forms = [form for _, form in table]
    form = read_json_if_present(folder / "processor_config.json").get(entry)
    if form is None:
        return by_name(*_names(folder))
    if form not in forms:
        raise ValueError(
            f"{entry} in {folder / 'processor_config.json'} must be one of {', '.join(forms)}, got "
            f"{form!r}; fix or remove the entry"
        )
    return str(form)


def read_chat_template(folder: Path) -> str | None:
    """Reads a checkpoint's Jinja chat template from whichever file has it; None if it has none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return read_text(file)
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        template = read_json_if_present(folder / name).get("chat_template")
        if isinstance(template, str):
            return template
    return None


def _names(folder: Path) -> tuple[str, str]:
    """Names of a checkpoint: its folder's, and the one in its config.json."""
    return _repository(folder).name, str(read_json(folder / "config.json").get("_name_or_path", ""))


def _repository(folder: Path) -> Path:
    """The folder with a checkpoint's name; in the hub's cache, models--owner--name/snapshots/commit."""
    resolved = folder.resolve()
    return resolved.parent.parent if resolved.parent.name == "snapshots" else resolved
