"""The benchmark measures what it says, on a checkpoint of a few kilobytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkpoints import single_file_checkpoint

SPEED = Path(__file__).resolve().parents[2] / "dev" / "benchmarks" / "speed.py"
STEPS = {"step", "step, batch", "step, middle"}
ONCE = {"step, long prompt", "text step", "prefill", "see", "pixels", "flow step", "first steps"}


@pytest.mark.slow
def test_one_command_measures_ours_and_the_peer(tmp_path: Path, golden_root: Path) -> None:
    single_file_checkpoint(tmp_path / "Janus-Pro-1B")
    shutil.copytree(golden_root / "janusflow-tiny", tmp_path / "JanusFlow-1.3B")
    command = [sys.executable, str(SPEED), "--folder", str(tmp_path), "--json", str(tmp_path / "report.json")]
    options = "--precisions fp32 int8 --peer fp32 --steps 2 --batch 2 --turns 2".split()
    finished = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
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
    # Transformers stands beside the same format, ours in the first one beside int8.
    assert fp32_row.count(" x |") == int8_row.count(" x |") == 1
    assert finished.stdout.count("JanusFlow: one step") == 2


@pytest.mark.slow
def test_what_was_found_before_a_failure_is_kept(tmp_path: Path) -> None:
    single_file_checkpoint(tmp_path / "Janus-Pro-1B")
    command = [sys.executable, str(SPEED), "--folder", str(tmp_path), "--json", str(tmp_path / "report.json")]
    options = "--precisions fp32 fp31 --peer --no-flow --steps 2 --turns 1".split()
    finished = subprocess.run([*command, *options], capture_output=True, text=True)
    assert finished.returncode != 0
    assert "dtype must be auto, bf16" in finished.stderr
    assert "ours fp31 must answer, got an end" in finished.stderr
    assert json.loads((tmp_path / "report.json").read_text())["found"]["ours fp32"]["load"]
