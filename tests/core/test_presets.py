"""Tables of released models: pinned, and complete where a config leaves sizes out."""

from __future__ import annotations

import re

from janus_nodes.janus_core import RELEASES
from janus_nodes.janus_core.presets import VISION_TOWERS, roles_by_name


def test_releases_are_pinned_to_a_commit() -> None:
    for name, release in RELEASES.items():
        assert release.name == name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", release.repo_id)
        assert re.fullmatch(r"[0-9a-f]{40}", release.revision)
        assert release.num_bytes > 10**9
        assert roles_by_name(name) == ("<|User|>", "<|Assistant|>")


def test_towers_have_every_size() -> None:
    for sizes in VISION_TOWERS.values():
        assert sizes.keys() == {"width", "layers", "heads", "mlp_ratio", "patch_size"}
        assert sizes["width"] % sizes["heads"] == 0


def test_names_without_a_row_say_nothing() -> None:
    assert roles_by_name("llava-7b") is None
    assert roles_by_name("") is None
