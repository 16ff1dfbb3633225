"""The benchmark's command, on a checkpoint of a few kilobytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkpoints import single_file_checkpoint

ROOT = Path(__file__).resolve().parents[2]
STEPS = {"step", "step, batch", "step, middle"}
ONCE = {"step, long prompt", "text step", "prefill", "see", "pixels", "flow step", "first steps"}


def benchmark(folder: Path, options: str) -> subprocess.CompletedProcess[str]:
    """Runs the benchmark on the checkpoints of a folder; the figures go to `report.json`."""
    command = [sys.executable, "-m", "dev.benchmarks.speed", "--folder", str(folder)]
    return subprocess.run(
        [*command, "--json", str(folder / "report.json"), *options.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_one_command_measures_ours_and_the_peer(tmp_path: Path, golden_root: Path) -> None:
    single_file_checkpoint(tmp_path / "Janus-Pro-1B")
    shutil.copytree(golden_root / "janusflow-tiny", tmp_path / "JanusFlow-1.3B")
    finished = benchmark(tmp_path, "--precisions fp32 int8 --peer fp32 --steps 2 --batch 2 --turns 2")
    assert finished.returncode == 0, finished.stderr
    found = json.loads((tmp_path / "report.json").read_text())["found"]
    for precision in ("fp32", "int8"):
        each = found[f"ours {precision}"]
        assert each.keys() > ONCE
        assert all(each[name] > 0 for name in ONCE)
        assert [turn.keys() for turn in each["turns"]] == [STEPS | {"memory"}] * 2
        assert len(each["load"]) == len(each["file"]) > 1
    assert found["ours int8"]["read per step"] < found["ours fp32"]["read per step"]
    assert [set(turn) for turn in found["transformers fp32"]["turns"]] == [STEPS] * 2
    rows = [line for line in finished.stdout.splitlines() if "one step, one image with guidance" in line]
    fp32_row, int8_row = rows
    # fp32 is compared with transformers in fp32, and int8 with ours in fp32.
    assert fp32_row.count(" x |") == int8_row.count(" x |") == 1
    assert finished.stdout.count("JanusFlow: one step") == 2


@pytest.mark.slow
def test_figures_measured_before_a_failure_are_kept(tmp_path: Path) -> None:
    single_file_checkpoint(tmp_path / "Janus-Pro-1B")
    finished = benchmark(tmp_path, "--precisions fp32 fp31 --peer --no-flow --steps 2 --turns 1")
    assert finished.returncode != 0
    assert "dtype must be auto, bf16" in finished.stderr
    assert "ours fp31 must answer, but its process ended" in finished.stderr
    assert json.loads((tmp_path / "report.json").read_text())["found"]["ours fp32"]["load"]
