"""How fast drawing, answering and loading are, beside what the machine's memory allows and a peer.

`python tests/benchmarks/speed.py` writes a checkpoint of Janus-Pro-1B's sizes with made-up weights, measures
each thing in a process of its own, one after the other, prints a table and, with --json, writes the figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from peer import write_checkpoint  # noqa: E402

MEASURE = Path(__file__).with_name("measure.py")
# What is measured of ours: name of the row, key, and whether reading weights bounds it.
ROWS = (
    ("draw: one step, one image with guidance", "step", True),
    ("draw: one step, batch", "step, batch", True),
    ("draw: one step in a CUDA graph, one image with guidance", "step, captured", True),
    ("draw: one step in a CUDA graph, batch", "step, captured, batch", True),
    ("draw: one step, prompt of 1,000 tokens", "step, long prompt", True),
    ("answer: one token", "text step", False),
    ("answer: reading 600 tokens", "prefill", False),
    ("SigLIP encode, one image", "see", False),
    ("VQ decode, one image", "pixels", False),
    ("first 4 tokens after a load", "first steps", False),
    ("first 4 tokens of the next image", "first steps again", False),
)


def main() -> None:
    """Measures and prints."""
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "config.json").is_file():
            say(f"writing made-up weights of size {options.size} to {folder}")
            write_checkpoint(options.size, folder)
        common = (str(folder), str(options.steps), str(options.batch))
        report: dict[str, Any] = {
            "machine": _machine(options.device),
            "model": folder.name if options.folder else options.size,
            "torch": torch.__version__,
            "batch": options.batch,
            "steps": options.steps,
        }
        report["bandwidth"] = _measured("bandwidth", options.device, "-", *common)
        report["transformers"] = {}
        for dtype in options.peer:
            report["transformers"][dtype] = _measured("transformers", options.device, dtype, *common)
        report["ours"] = {
            name: _measured("ours", options.device, name, *common) for name in options.precisions
        }
    for line in table(report):
        say(line)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def table(report: dict[str, Any]) -> list[str]:
    """The report as a Markdown table."""
    rates = report["bandwidth"]
    lines = [
        f"{report['machine']}, torch {report['torch']}, model {report['model']}; memory is read at "
        f"{rates['memory'] / 1e9:.1f} GB/s, the file into fresh memory at {rates['file'] / 1e9:.2f} GB/s",
        "",
        "| | precision | median | of the memory's limit | transformers, same format | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for precision, found in report["ours"].items():
        limit = found["read per step"] / found.get("memory", rates["memory"])
        peer = report["transformers"].get(precision, {})
        for name, key, bounded in ROWS:
            if key not in found:
                continue
            share = f"{limit / found[key]:.0%}" if bounded else ""
            theirs = f"{1e3 * peer[key]:.0f} ms | {peer[key] / found[key]:.1f} x" if key in peer else " | "
            name = f"{name} of {report['batch']}" if key.endswith("batch") else name
            lines.append(f"| {name} | {precision} | {1e3 * found[key]:.0f} ms | {share} | {theirs} |")
        load = f"{found['load']:.1f} s, peak {found['peak'] / found['weights']:.2f} x the weights"
        lines.append(f"| load, {found['weights'] / 1e9:.2f} GB | {precision} | {load} | | | |")
    return lines


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _measured(what: str, *arguments: str) -> dict[str, Any]:
    say(f"measuring {what} {arguments[1]}")
    finished = subprocess.run(
        [sys.executable, str(MEASURE), what, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _machine(device: str) -> str:
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} CPU ({capability}), {torch.get_num_threads()} threads"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("1b", "7b"), default="1b")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precisions", nargs="*", default=["bf16", "int8", "fp32"])
    parser.add_argument(
        "--peer", nargs="*", default=["bf16", "fp32"], help="number formats of transformers; may be none"
    )
    parser.add_argument("--steps", type=int, default=16, help="steps that are timed, in each of three runs")
    parser.add_argument("--batch", type=int, default=4, help="images of the batch")
    parser.add_argument("--folder", type=Path, help="keeps the weights there, for another time")
    parser.add_argument("--json", type=Path, help="writes the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
