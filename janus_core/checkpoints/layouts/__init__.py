"""Checkpoint layouts, one module each: signature, config.json reader and writer, key map."""

from __future__ import annotations

from pathlib import Path

from ...config import JanusConfig
from ...file_io import read_json
from .flow import FLOW
from .original import ORIGINAL
from .shared import Layout
from .transformers import TRANSFORMERS

# Models are saved in the first layout that has a writer and covers their parameters.
LAYOUTS = (ORIGINAL, FLOW, TRANSFORMERS)


def detect_layout(folder: Path) -> tuple[Layout, JanusConfig]:
    """Recognizes a checkpoint's layout by its config.json, and reads the model's config from it."""
    file = folder / "config.json"
    content = read_json(file)
    layout = next((layout for layout in LAYOUTS if layout.describes(content)), None)
    if layout is None:
        supported = (f"model_type {layout.model_type!r} with {layout.config_key}" for layout in LAYOUTS)
        parts = [key for key in content if key.endswith("_config")]
        raise ValueError(
            f"{file} must have {' or '.join(supported)}, got model_type {content.get('model_type')!r} with "
            f"{', '.join(parts) or 'no parts'}; choose a Janus-1.3B, Janus-Pro or JanusFlow checkpoint"
        )
    try:
        return layout, layout.read_config(content)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
