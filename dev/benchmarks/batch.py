"""Measures batch work: workers against threads, memory over many rows, kills, and a cluster of four nodes.

    python -m dev.benchmarks.batch threads    two workers of one thread against one process of two, in turns
    python -m dev.benchmarks.batch memory     memory of command and workers over 100,000 rows of tiny images
    python -m dev.benchmarks.batch kills      ten workers and three commands are killed: the same rows after
    python -m dev.benchmarks.batch same       one, two and five workers, with and without Ray: the same rows
    python -m dev.benchmarks.batch cluster    four local Ray nodes against one process: the same rows

They use the demonstration model; kills and same one with tiny random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from janus_core.batch.job import Job
from janus_core.batch.local import run_locally
from janus_core.batch.options import BatchOptions
from janus_core.batch.tasks import TASKS

from .speed import say
from .timing import resident

ROOT = Path(__file__).resolve().parents[2]
BOX = ROOT / "janus_core" / "assets" / "janus-shapes"
TINY = ROOT / "tests" / "golden" / "janus-pro-tiny"
SAMPLED = ("--max-new-tokens", "6", "--temperature", "1.3", "--seed", "9")


def write_images(folder: Path, count: int, side: int) -> Path:
    """Writes images of random pixels, a thousand in each subfolder."""
    rng = np.random.default_rng(0)
    for number in range(count):
        below = folder / f"{number // 1000:03d}"
        below.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(below / f"{number:06d}.png", compress_level=0)
    return folder


def start(source: Path, output: Path, checkpoint: Path, *more: str) -> subprocess.Popen[bytes]:
    """Starts to caption a folder."""
    given = ("--checkpoint", str(checkpoint), "--dtype", "fp32", "--background", "grey", *more)
    command = [sys.executable, "-m", "janus_core.batch", "caption", str(source), str(output), *given]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def rows_of(output: Path) -> dict[str, Any]:
    """The rows of an output, by id; raises an error if two have the same id."""
    files = sorted(output.glob("part-*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    rows = {line["id"]: line for line in lines}
    if len(rows) != len(lines):
        raise RuntimeError(
            f"each row must have an id of its own, got {len(lines)} rows of {len(rows)} ids in {output}"
        )
    return rows


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes of a command's workers."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


def threads(folder: Path, options: argparse.Namespace) -> None:
    """Compares the rates, in turns; the time of loading is left out."""
    source = write_images(folder / "set", options.rows, 96)
    # Parts of one batch: the clock runs from the first part to the last.
    given = ("--max-new-tokens", "24", "--rows-per-part", "8", "--batch-size", "8")
    ways = {
        "one process of two threads": ("--workers", "1", "--threads", "2"),
        "two workers of one thread": ("--workers", "2", "--threads", "1"),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.turns):
        for name, way in ways.items():
            output = folder / f"{name} {turn}"
            start(source, output, BOX, *given, *way).wait()
            times = sorted(file.stat().st_mtime for file in output.glob("part-*"))
            first = 2  # parts of each way that are left out: those of both workers
            rates[name].append(8 * (len(times) - first) / (times[-1] - times[first - 1]))
    ratios = [two / one for one, two in zip(*rates.values(), strict=True)]
    for name, values in rates.items():
        say(f"{name}: {', '.join(f'{rate:.2f}' for rate in values)} rows/s")
    say(f"ratios {', '.join(f'{ratio:.2f}' for ratio in ratios)}; median {statistics.median(ratios):.2f}")


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Prints the memory of the command and its workers every few seconds."""
    source = write_images(folder / "set", options.rows, 8)
    if options.without_model:
        _memory_without_model(source, folder / "out")
        return
    # Cheap rows: what is measured is memory.
    given = ("--dtype", "bf16", "--question", "?", "--max-new-tokens", "1", "--batch-size", "64")
    output = folder / "out"
    process = start(source, output, BOX, *given, "--workers", "2", "--threads", "1")
    while process.poll() is None:
        time.sleep(options.seconds)
        parts = len(list(output.glob("part-*")))
        try:
            sizes = [psutil.Process(pid).memory_info().rss / 2**20 for pid in workers_of(process)]
            own = psutil.Process(process.pid).memory_info().rss / 2**20
        except psutil.Error:
            continue
        workers = ", ".join(f"{size:.0f}" for size in sizes)
        say(f"{256 * parts:,} rows: command {own:.0f} MB, workers {workers} MB")
    say(f"{len(rows_of(output)):,} rows in the output; this process {resident('VmRSS') / 2**20:.0f} MB")


def _memory_without_model(source: Path, output: Path) -> None:
    """Prints the memory of this process, in which all is done but computing answers."""
    task = TASKS["caption"]
    answer = {"text": "An image.", "finish_reason": "eos", "repeats": False, "unfamiliar": False}
    TASKS["caption"] = replace(task, compute=lambda pipeline, inputs, options: [answer] * len(inputs))
    job = Job(source, output, BatchOptions(TINY, dtype="fp32", batch_size=16, threads=1))

    def tell(line: str) -> None:
        say(f"{line}; {resident('VmRSS') / 2**20:.0f} MB")

    try:
        tell(run_locally(job, say=tell).text)
    finally:
        TASKS["caption"] = task


def kills(folder: Path, options: argparse.Namespace) -> None:
    """Kills a worker in each of ten runs, and the command in three more, and compares the rows."""
    source = write_images(folder / "set", options.rows, 8)
    given = (*SAMPLED, "--batch-size", "3", "--rows-per-part", "4", "--workers", "2", "--threads", "1")
    start(source, folder / "undisturbed", TINY, *given).wait()
    expected = rows_of(folder / "undisturbed")
    rng = random.Random(options.seed)
    victims: list[tuple[str, Callable[[subprocess.Popen[bytes]], list[int]]]] = [
        *[("worker", workers_of)] * 10,
        *[("command", lambda process: [process.pid])] * 3,
    ]
    for number, (name, pids) in enumerate(victims):
        output = folder / f"killed {number}"
        process = start(source, output, TINY, *given)
        parts = rng.randrange(1, options.rows // 4 - 4)
        while process.poll() is None and len(list(output.glob("part-*"))) < parts:
            time.sleep(0.005)
        found = pids(process) if process.poll() is None else []
        if found:
            os.kill(rng.choice(found), signal.SIGKILL)
        code = process.wait()
        some = len(rows_of(output))
        again = start(source, output, TINY, *given).wait()
        if again or rows_of(output) != expected:
            raise RuntimeError(f"rows must be those of an undisturbed run, got others in {output}")
        say(f"{name} killed after {parts} parts: exit code {code}, {some} rows; all {len(expected)} after")


def same(folder: Path, options: argparse.Namespace) -> None:
    """Runs a job with one, two and five workers, with and without Ray, and compares the rows."""
    source = write_images(folder / "set", options.rows, 8)
    given = (*SAMPLED, "--rows-per-part", "4", "--threads", "1")
    found = []
    for ray in ((), ("--ray",)):
        for workers in (1, 2, 5):
            output = folder / f"{workers} {ray}"
            size = ("--workers", str(workers), "--batch-size", str(workers))
            code = start(source, output, TINY, *given, *size, *ray).wait()
            found.append(rows_of(output))
            alike = "the same as" if found[-1] == found[0] else "OTHERS than"
            name = f"{workers} workers{' on Ray' if ray else ''}"
            say(f"{name}: exit code {code}, {len(found[-1])} rows, {alike} with one worker")


def cluster(folder: Path, options: argparse.Namespace) -> None:
    """Runs the same job on four local nodes of one core each, and in one process."""
    source = write_images(folder / "set", options.rows, 96)
    given = ("--max-new-tokens", "12", "--rows-per-part", "4", "--batch-size", "4", "--threads", "1")
    start(source, folder / "one", BOX, *given).wait()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    try:
        for _ in range(4):
            nodes.add_node(num_cpus=1, object_store_memory=10**8, include_dashboard=False)
        start(source, folder / "four", BOX, *given, "--ray", nodes.address, "--workers", "4").wait()
    finally:
        nodes.shutdown()
    rows = rows_of(folder / "four")
    same = "the same" if rows == rows_of(folder / "one") else "NOT the same"
    say(f"{len(rows)} rows on four nodes, {same} as on one")


COMMANDS = {
    "threads": (threads, 160),
    "memory": (memory, 100_000),
    "kills": (kills, 48),
    "same": (same, 48),
    "cluster": (cluster, 48),
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=tuple(COMMANDS))
    parser.add_argument("--rows", type=int, help="images")
    parser.add_argument("--turns", type=int, default=3, help="of threads (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="between two lines of memory (default: 10)"
    )
    parser.add_argument("--without-model", action="store_true", help="memory of all but computing answers")
    parser.add_argument("--seed", type=int, default=0, help="of kills")
    options = parser.parse_args()
    run, rows = COMMANDS[options.command]
    options.rows = options.rows or rows
    with tempfile.TemporaryDirectory() as temporary:
        run(Path(temporary), options)


if __name__ == "__main__":
    main()
