"""ComfyUI's source tree for tests, or the reason why there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dev.comfyui.tree import ComfyUIUnavailableError, find_tree


def tree_or_skip() -> Path:
    """ComfyUI's source tree; skips the test without one, or fails it with `JANUS_REQUIRE_COMFYUI=1`."""
    try:
        return find_tree()
    except ComfyUIUnavailableError as error:
        if os.environ.get("JANUS_REQUIRE_COMFYUI") == "1":
            pytest.fail(f"no ComfyUI to test with, and JANUS_REQUIRE_COMFYUI=1 demands one: {error}")
        pytest.skip(f"no ComfyUI to test with: {error}")
