"""Rows for batch work, the command in a process of its own, and processes that are killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from janus_nodes.janus_core import TextSampling
from janus_nodes.janus_core.batch.job import Job
from janus_nodes.janus_core.batch.options import BatchOptions
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "tests" / "golden" / "janus-pro-tiny"
VARIED = TextSampling(max_new_tokens=5, temperature=1.3, seed=9)
COMMAND = ("--checkpoint", str(CHECKPOINT), "--dtype", "fp32", "--threads", "1", "--rows-per-part", "4")
SAMPLED = ("--max-new-tokens", "5", "--temperature", "1.3", "--seed", "9")
QUESTIONS = ("What?", "Describe the image in detail, please.", "Why is that so?")
# Ids of rows of `write_rows` that cannot be computed, with what is said about each.
BAD = {
    "broken.png": "image must be readable, got: cannot identify image file",
    "missing.png": "image must be readable, got: [Errno 2]",
    "large.png": "10000 x 10000 pixels, which are more than 96000000",
    "blank": "question or prompt or text must hold text, got '  '",
    "row 1#2": "id must occur once, got 'row 1' again",
    "outside": "image must lie in",
}


def write_rows(folder: Path, count: int = 16) -> Path:
    """Writes a JSONL file of questions about images, bad ones among them; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        pixels = rng.integers(0, 256, (8 + number % 5, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({"id": f"row {number}", "file_name": f"{number}.png", "question": QUESTIONS[number % 3]})
        if number % 5 == 0:
            rows.append({"id": f"words {number}", "question": f"{QUESTIONS[number % 3]} Number {number}?"})
    (folder / "broken.png").write_bytes(b"no image")
    Image.new("1", (10_000, 10_000)).save(folder / "large.png")
    for name in ("broken.png", "missing.png", "large.png"):
        rows.insert(3, {"file_name": name, "question": "What?"})
    rows.insert(5, {"id": "blank", "file_name": "1.png", "question": "  "})
    rows.insert(9, {"id": "row 1", "file_name": "1.png", "question": "Again?"})
    rows.append({"id": "outside", "file_name": "../outside.png", "question": "What?"})
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def job(source: Path, output: Path, task: str = "ask", **more: Any) -> Job:
    """A job of the tiny checkpoint with parts of four rows."""
    names = {"format", "kind", "columns", "image_folder"}
    of_job = {name: more.pop(name) for name in names & more.keys()}
    given = {"sampling": VARIED, "dtype": "fp32", "threads": 1, "rows_per_part": 4, "batch_size": 3}
    if task in ("score", "encode", "draw"):
        del given["sampling"]
    return Job(source, output, BatchOptions(CHECKPOINT, task, **{**given, **more}), **of_job)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of an output in JSONL, by id; asserts that no two have the same id."""
    lines = [
        json.loads(line)
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    rows = {line["id"]: line for line in lines}
    assert len(rows) == len(lines), "an id is there twice"
    return rows


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Starts the command."""
    return subprocess.Popen(
        [sys.executable, "-m", "janus_core.batch", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a test can kill all of it
    )


def kill_after(process: subprocess.Popen[str], output: Path, victim: Any, parts: int = 1) -> None:
    """Kills what `victim()` names (None: not yet there) as soon as an output holds some parts."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        number = victim() if len(list(output.glob("part-*"))) >= parts else None
        if number is not None:
            os.kill(number, signal.SIGKILL)
            return
        time.sleep(0.01)
    raise AssertionError(f"the command must run until it is killed, got {process.communicate()}")
