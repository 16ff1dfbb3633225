"""The dry run of the session on a graphics card: its code, on tiny sizes and the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def session(options: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dev.gpu_session", "--device", "cpu", "--json", str(file)]
    return subprocess.run([*command, *options.split()], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_dry_run_measures_every_part(tmp_path: Path) -> None:
    finished = session("", tmp_path / "session.json")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    report = json.loads((tmp_path / "session.json").read_text(encoding="utf-8"))
    # Only CUDA devices tell of waits.
    assert list(report["left out"]) == ["waits"]
    parts = {figure["part"] for figure in report["figures"]}
    assert parts == {"machine", "equality", "recovery", "eviction", "steps", "memory", "kernels"}
    passed = {figure["name"]: figure["passed"] for figure in report["figures"]}
    assert passed["tokens of the demonstration as recorded, fp32"]
    assert passed["inpaint as on the CPU, fp32"]
    assert passed["halved after memory ran out"]
    assert passed["the same tokens after eviction and back"]
    steps = [figure for figure in report["figures"] if figure["part"] == "steps"]
    assert len(steps) >= 8 and all(figure["measured"] > 0 and figure["limit"] > 0 for figure in steps)
    assert "| steps | Janus-Pro-1B int8, image token |" in finished.stdout


def test_a_session_in_its_own_process_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    inner = [sys.executable, "-c", "import sys; sys.exit('no such allocator')"]
    script = (
        "from pathlib import Path\nfrom dev.gpu_session.checks import _figures_of\n"
        f"_figures_of({inner!r}, Path({str(tmp_path / 'session.json')!r}), {{}})"
    )
    finished = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert finished.stderr.endswith(
        "RuntimeError: the session in its own process ended with 1: no such allocator\n"
    )


@pytest.mark.slow
def test_a_session_without_time_says_what_it_has_left_out(tmp_path: Path) -> None:
    finished = session("--seconds 0 --parts kernels", tmp_path / "session.json")
    report = json.loads((tmp_path / "session.json").read_text(encoding="utf-8"))
    assert report["left out"] == {"machine": "no time was left", "kernels": "no time was left"}
    assert "left out: kernels: no time was left" in finished.stdout
