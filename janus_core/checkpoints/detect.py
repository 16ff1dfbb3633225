"""What kind of checkpoint a folder holds: its layout, its sizes, its role texts."""

from __future__ import annotations

from pathlib import Path

from ..config import JanusConfig
from ..file_io import read_json, read_json_if_present
from ..presets import EDIT_FORMS_BY_NAME, PLAIN_ROLES, TAGGED_ROLES, edit_form_by_name, roles_by_name
from .configs import from_original
from .configs_flow import from_flow
from .configs_transformers import from_transformers
from .keymap import Layout
from .keymaps import ORIGINAL, TRANSFORMERS
from .keymaps_flow import FLOW

# A layout by the `model_type` and a key that its config.json has, with the reader of its sizes.
SIGNATURES = (
    ("multi_modality", "gen_vision_config", ORIGINAL, from_original),
    ("multi_modality", "vision_gen_enc_config", FLOW, from_flow),
    ("janus", "vq_config", TRANSFORMERS, from_transformers),
)


def detect(folder: Path) -> tuple[Layout, JanusConfig]:
    """Layout and sizes of the checkpoint in a folder.

    Raises:
        FileNotFoundError: if there is no config.json.
        ValueError: if the checkpoint is of another kind; it says which.
    """
    config = read_json(folder / "config.json")
    for model_type, key, layout, reader in SIGNATURES:
        if config.get("model_type") == model_type and key in config:
            try:
                return layout, reader(config)
            except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
                raise ValueError(
                    f"{folder / 'config.json'} must describe a Janus model, got an entry that is missing or "
                    f"of the wrong kind: {error}; download it again"
                ) from error
    supported = " or ".join(f"model_type {model_type!r} with {key}" for model_type, key, _, _ in SIGNATURES)
    raise ValueError(
        f"{folder / 'config.json'} must have {supported}, got model_type {config.get('model_type')!r} with "
        f"{', '.join(key for key in config if key.endswith('_config')) or 'no parts'}; choose a "
        "Janus-1.3B, Janus-Pro or JanusFlow checkpoint"
    )


def detect_roles(folder: Path, template: str | None) -> tuple[str, str] | None:
    """Role texts of user and assistant that a checkpoint was trained with; None if nothing tells.

    Looked for in this order: a `roles` entry of `processor_config.json`, as this package writes it; the chat
    template that transformers' conversions carry; the folder's name and the one in `config.json`.

    Args:
        folder: the checkpoint.
        template: the text of its Jinja chat template, if it has one.
    """
    roles = read_json_if_present(folder / "processor_config.json").get("roles")
    if roles is not None:
        if not isinstance(roles, list) or len(roles) != 2 or not all(isinstance(role, str) for role in roles):
            raise ValueError(
                f"roles in {folder / 'processor_config.json'} must be two texts, of user and assistant, got "
                f"{roles!r}; mend or remove the entry"
            )
        return roles[0], roles[1]
    if template:
        return TAGGED_ROLES if TAGGED_ROLES[0] in template else PLAIN_ROLES
    return roles_by_name(*_names(folder))


def detect_edit_form(folder: Path) -> str | None:
    """How a checkpoint was trained to edit by instruction; None if nothing tells that it was.

    Looked for in this order: an `edit_form` entry of `processor_config.json`, as this package writes it; the
    folder's name and the one in `config.json`.
    """
    forms = [form for _, form in EDIT_FORMS_BY_NAME]
    form = read_json_if_present(folder / "processor_config.json").get("edit_form")
    if form is None:
        return edit_form_by_name(*_names(folder))
    if form not in forms:
        raise ValueError(
            f"edit_form in {folder / 'processor_config.json'} must be one of {', '.join(forms)}, got "
            f"{form!r}; mend or remove the entry"
        )
    return str(form)


def _names(folder: Path) -> tuple[str, str]:
    """What a checkpoint is called: by its folder, and in its config.json."""
    place = folder.resolve()
    if place.parent.name == "snapshots":  # the hub's cache: models--owner--name/snapshots/commit
        place = place.parent.parent
    return place.name, str(read_json(folder / "config.json").get("_name_or_path", ""))
