"""No recorded number lies unused: runs behind all tests of the core and asks which were read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

# Recorded, but not for the tests of this folder to compare.
NOT_COMPARED = {
    "understand.text_only.greedy_min_margin": "tells how safe the recorded ids are from rounding",
    "understand.one_image.greedy_min_margin": "as above",
    "understand.two_images.greedy_min_margin": "as above",
    "understand.multi_turn.greedy_min_margin": "as above",
    "understand.batch.greedy_min_margin": "as above",
    "vq.encode_min_margin": "as above",
    "imagegen.greedy_cfg5.min_margin": "as above",
    "imagegen.greedy_cfg1.min_margin": "as above",
    "sampling_note": "a note",
}
# Instruction editing has tests of its own.
OTHER_FILES = ("edit/", "r1_edit/")


def test_every_recorded_number_is_compared_with(recorded: Any, request: pytest.FixtureRequest) -> None:
    files = set(Path(__file__).parent.rglob("test_*.py"))
    config = request.config
    if files - {item.path for item in request.session.items} or config.getoption("keyword"):
        pytest.skip("only a run of all tests of the core can tell")
    wanted = {name for name in recorded.names if not name.startswith(OTHER_FILES)}
    assert wanted - recorded.used - NOT_COMPARED.keys() == set()


def test_no_exception_is_outdated(recorded: Any) -> None:
    assert NOT_COMPARED.keys() <= recorded.names
