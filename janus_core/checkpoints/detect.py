"""What kind of checkpoint a folder holds: its layout, its sizes, its role texts."""

from __future__ import annotations

import json
from pathlib import Path

from ..config import JanusConfig
from ..presets import PLAIN_ROLES, TAGGED_ROLES, roles_by_name
from .configs import from_original
from .configs_transformers import from_transformers
from .keymap import Layout
from .keymaps import ORIGINAL, TRANSFORMERS

# A layout by the `model_type` and a key that its config.json has, with the reader of its sizes.
SIGNATURES = (
    ("multi_modality", "gen_vision_config", ORIGINAL, from_original),
    ("janus", "vq_config", TRANSFORMERS, from_transformers),
)


def read_config(folder: Path) -> dict:
    """The folder's config.json.

    Raises:
        FileNotFoundError: if there is no folder or no config.json in it.
        ValueError: if it is not a JSON object.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"checkpoint must be a folder, got {folder}, which does not exist; check the name"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} must hold config.json, got none; download the whole checkpoint folder"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, got: {error}; download it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(content).__name__}; download it again")
    return content


def detect(folder: Path) -> tuple[Layout, JanusConfig]:
    """Layout and sizes of the checkpoint in a folder.

    Raises:
        FileNotFoundError: as `read_config`.
        ValueError: if the checkpoint is of another kind; it says which.
    """
    config = read_config(folder)
    for model_type, key, layout, reader in SIGNATURES:
        if config.get("model_type") == model_type and key in config:
            try:
                return layout, reader(config)
            except (KeyError, TypeError) as error:
                raise ValueError(
                    f"{folder / 'config.json'} must describe a Janus model, got an entry that is missing or of the "
                    f"wrong kind: {error}; download it again"
                ) from error
    supported = " or ".join(f"model_type {model_type!r} with {key}" for model_type, key, _, _ in SIGNATURES)
    raise ValueError(
        f"{folder / 'config.json'} must have {supported}, got model_type {config.get('model_type')!r} with "
        f"{', '.join(key for key in config if key.endswith('_config')) or 'no parts'}; choose a Janus-1.3B or "
        "Janus-Pro checkpoint"
    )


def detect_roles(folder: Path, template: str | None) -> tuple[str, str] | None:
    """Role texts of user and assistant that a checkpoint was trained with; None if nothing tells.

    Looked for in this order: a `roles` entry of `processor_config.json`, as this package writes it; the chat template
    that transformers' conversions carry; the name that the checkpoint gives itself, then the folder's.

    Args:
        folder: the checkpoint.
        template: the text of its Jinja chat template, if it has one.
    """
    processor = folder / "processor_config.json"
    if processor.is_file():
        roles = json.loads(processor.read_text(encoding="utf-8")).get("roles")
        if roles:
            return roles[0], roles[1]
    if template:
        return TAGGED_ROLES if TAGGED_ROLES[0] in template else PLAIN_ROLES
    named = roles_by_name(str(read_config(folder).get("_name_or_path", "")))
    return named or roles_by_name(folder.resolve().name)
