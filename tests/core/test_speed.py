"""The benchmark measures what it says, on a checkpoint of a few kilobytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkpoints import single_file_checkpoint

SPEED = Path(__file__).resolve().parents[1] / "benchmarks" / "speed.py"
TIMES = {"load", "step", "step, batch", "step, long prompt", "text step", "prefill", "see", "pixels"}


@pytest.mark.slow
def test_one_command_measures_ours_and_the_peer(tmp_path: Path) -> None:
    folder = single_file_checkpoint(tmp_path / "model")
    command = [sys.executable, str(SPEED), "--folder", str(folder), "--json", str(tmp_path / "report.json")]
    options = ["--precisions", "fp32", "int8", "--peer", "fp32", "--steps", "2", "--batch", "2"]
    finished = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["bandwidth"]) == {"memory", "file"}
    for precision in ("fp32", "int8"):
        found = report["ours"][precision]
        assert TIMES < set(found)
        assert all(found[name] > 0 for name in TIMES)
    assert report["ours"]["int8"]["read per step"] < report["ours"]["fp32"]["read per step"]
    assert set(report["transformers"]["fp32"]) == {"step", "step, batch"}
    assert finished.stdout.count("draw: one step, one image with guidance") == 2
