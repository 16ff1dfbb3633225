"""The list of public reports names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TEXT = (TESTS / "public_reports.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ") and "#" in line]


@pytest.mark.parametrize(("reported", "where", "tests"), ROWS, ids=[row[0] for row in ROWS])
def test_a_report_has_its_place_and_tests(reported: str, where: str, tests: str) -> None:
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", place) for place in where.split(", "))
    names = re.findall(r"`(.+?)`", tests)
    assert names
    for name in names:
        file, _, function = name.partition("::")
        source = (TESTS / file).read_text(encoding="utf-8")
        assert f"def {function}" in source, f"{name} must be a test"
