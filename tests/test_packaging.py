"""pyproject.toml follows the rules of the ComfyUI registry and agrees with requirements.txt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
    assert {"PublisherId", "DisplayName", "requires-comfyui"} <= comfy.keys()
    # A release must have a number of three digits.
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])


def test_all_links_are_of_one_repository(pyproject: dict[str, Any]) -> None:
    repository = pyproject["project"]["urls"]["Repository"]
    found = re.fullmatch(r"https://github\.com/([\w-]+/[\w-]+)", repository)
    assert found, repository
    for name, url in pyproject["project"]["urls"].items():
        assert url.startswith(repository), name
    raw = f"https://raw.githubusercontent.com/{found[1]}/main/"
    for name in ("Icon", "Banner"):
        assert pyproject["tool"]["comfy"][name].startswith(raw), name


@pytest.mark.parametrize(("name", "shape", "widest"), [("Icon", (1, 1), 400), ("Banner", (21, 9), 2100)])
def test_pictures_have_the_shapes_that_the_registry_asks_for(
    pyproject: dict[str, Any], name: str, shape: tuple[int, int], widest: int
) -> None:
    file = ROOT / pyproject["tool"]["comfy"][name].partition("/main/")[2]
    assert file.suffix in (".png", ".jpg")
    assert file.stat().st_size < 100_000
    with Image.open(file) as picture:
        width, height = picture.size
    assert width * shape[1] == height * shape[0]
    assert width <= widest
