"""Runs on Ray: the same rows as without it, also if actors are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from janus_nodes.janus_core.batch import caption_dataset
from janus_nodes.janus_core.batch.local import run_locally
from janus_nodes.janus_core.batch.options import BatchOptions
from janus_nodes.janus_core.batch.ray_engine import _PATIENCE, run_on_ray
from support.batch import BAD, CHECKPOINT, ROOT, job, rows_of, write_rows

pytest.importorskip("ray")

# Ray's processes import the package by its own name, which this process does not know it by.
SCRIPT = """
import json, os, signal, sys, threading, time
from pathlib import Path

import psutil, pyarrow, pyarrow.parquet

from janus_core.batch import BatchOptions, caption_dataset
from janus_core.batch.job import Job
from janus_core.batch.ray_engine import _PATIENCE, run_on_ray
from janus_core.sampling.options import TextSampling

source, output, checkpoint = map(Path, sys.argv[1:])
given = {"dtype": "fp32", "threads": 1}
options = BatchOptions(
    checkpoint,
    "ask",
    TextSampling(max_new_tokens=5, temperature=1.3, seed=9),
    rows_per_part=4,
    batch_size=3,
    **given,
)
killed = []


def kill():
    # One of the two actors, as soon as a part is written.
    while not list(output.glob("part-*")):
        time.sleep(0.02)
    for child in psutil.Process().children(recursive=True):
        if child.cmdline()[:1] and "MapWorker" in child.cmdline()[0]:
            os.kill(child.pid, signal.SIGKILL)
            killed.append(child.pid)
            return


import ray

ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
threading.Thread(target=kill, daemon=True).start()
report = run_on_ray(Job(source, output, options), workers=2)

picture = (source.parent / "0.png").read_bytes()
table = pyarrow.Table.from_pylist(
    [{"id": "a", "image": picture, "label": 7}, {"id": "b", "image": b"broken", "label": 8}]
)
captions = caption_dataset(
    ray.data.from_arrow(table),
    BatchOptions(checkpoint, "caption", TextSampling(max_new_tokens=5), batch_size=1, **given),
    workers=1,
)
captions.write_parquet(str(output / "captions"))
read = sorted(pyarrow.parquet.read_table(output / "captions").to_pylist(), key=lambda row: row["id"])
usage = os.environ["RAY_USAGE_STATS_ENABLED"]
found = [killed, report.lost, report.num_failed, read, usage]
(output / "found.json").write_text(json.dumps(found), encoding="utf-8")
"""


def test_rows_are_the_same_with_ray_and_after_an_actor_was_killed(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "set")
    output = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(source), str(output), str(CHECKPOINT)]
    environment = {**os.environ, **_PATIENCE, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((output / "found.json").read_text(encoding="utf-8"))
    killed, lost, num_failed, captions, usage = found
    assert killed and not lost and usage == "0"

    undisturbed = job(source, tmp_path / "expected")
    assert run_locally(undisturbed).num_failed == len(BAD) <= num_failed
    assert rows_of(output) == rows_of(undisturbed.output)

    # A dataset keeps its own columns, and bad rows are isolated in it as well.
    assert [(row["id"], row["label"], bool(row["text"])) for row in captions] == [
        ("a", 7, True),
        ("b", 8, False),
    ]
    assert captions[0]["error"] is None and "image must be readable" in captions[1]["error"]
    assert "image" not in captions[0]


def test_what_cannot_run_on_ray_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format must be one that any machine can write, got 'txt' with Ray"):
        run_on_ray(job(write_rows(tmp_path / "set"), tmp_path / "out", format="txt"))
    with pytest.raises(ValueError, match="task must be caption, got 'score'; call process_dataset"):
        caption_dataset(None, BatchOptions(CHECKPOINT, "score"))


def test_nothing_of_ray_is_imported_unless_it_is_used() -> None:
    code = "import sys, janus_core.batch.__main__; print([m for m in ('ray', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
