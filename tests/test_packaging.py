"""pyproject.toml follows the rules of the ComfyUI registry and agrees with requirements.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def pyproject() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))


def test_dependencies_equal_requirements_txt(pyproject: dict[str, Any]) -> None:
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert pyproject["project"]["dependencies"] == listed


def test_the_lowest_versions_allowed_are_those_tested(pyproject: dict[str, Any]) -> None:
    lines = (ROOT / "tests" / "requirements-lowest.txt").read_text(encoding="utf-8").split()
    tested = dict(line.split("==") for line in lines if "==" in line)
    for requirement in pyproject["project"]["dependencies"]:
        name, _, lowest = requirement.partition(">=")
        assert tested[name].removesuffix(".0") == lowest.removesuffix(".0"), name


def test_registry_accepts_the_description(pyproject: dict[str, Any]) -> None:
    project, comfy = pyproject["project"], pyproject["tool"]["comfy"]
    assert "comfyui" not in project["name"].lower()
    assert not project["name"][0].isdigit()
    assert project["license"] == {"file": "LICENSE"}
    assert project["urls"]["Repository"].startswith("https://")
    assert {"PublisherId", "DisplayName", "Icon", "requires-comfyui"} <= comfy.keys()
