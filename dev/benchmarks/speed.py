"""Measures speed and memory of generation, answering and loading, and compares them with transformers.

`python -m dev.benchmarks.speed` writes checkpoints of the released sizes with random weights and measures
each precision, ours and transformers', in a process of its own. All of them are in memory at once (12 GB for
the default precisions of Janus-Pro-1B, 5 GB more while one loads) and take turns at generating, because the
speed of a shared machine changes from minute to minute: ratios are medians of the ratios within one turn.
Prints a table and, with --json, writes all figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch

from .peer import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"1b": "Janus-Pro-1B", "7b": "Janus-Pro-7B"}
FLOW = "JanusFlow-1.3B"
# Limited by memory bandwidth and measured in every turn: name of the table's line, and key.
STEPS = (
    ("generate: one step, one image with guidance", "step"),
    ("generate: one step in the middle of an image", "step, middle"),
    ("generate: one step, batch of {batch}", "step, batch"),
)
# Measured once.
ONCE = (
    ("generate: one step, prompt of 1,000 tokens", "step, long prompt"),
    ("answer: one token", "text step"),
    ("answer: prefill of 600 tokens", "prefill"),
    ("SigLIP encode, one image", "see"),
    ("VQ decode, one image", "pixels"),
    ("first 4 tokens after a load", "first steps"),
    ("first 4 tokens of the next image", "first steps again"),
    ("JanusFlow: one step with guidance", "flow step"),
)


class Worker:
    """A process that measures one model in one precision."""

    def __init__(self, what: str, folder: Path, precision: str, options: argparse.Namespace) -> None:
        self.label = f"{what} {precision}"
        numbers = (str(folder.resolve()), str(options.steps), str(options.batch))
        command = [sys.executable, "-m", "dev.benchmarks.measure", what, options.device, precision]
        self.process = subprocess.Popen(
            [*command, *numbers], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, what: str) -> dict[str, Any]:
        """Asks for a measurement (`load`, `turn` or `rest`) and returns its figures."""
        say(f"{self.label}: {what}")
        assert self.process.stdin is not None and self.process.stdout is not None  # both are pipes
        answer = ""
        with suppress(BrokenPipeError):  # it has ended in the meantime
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.label} must answer, but its process ended; see its error above")
        found: dict[str, Any] = json.loads(answer)
        return found


def main() -> None:
    """Measures and prints."""
    options = _options()
    report = {
        "machine": _machine(options.device),
        "model": MODELS[options.size],
        "torch": torch.__version__,
        "batch": options.batch,
        "steps": options.steps,
        "found": {},
    }
    try:
        with tempfile.TemporaryDirectory() as temporary:
            measure(options, options.folder or Path(temporary), report["found"])
    finally:  # keep the figures that were measured before a failure
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for line in table(report):
        say(line)


def measure(options: argparse.Namespace, kept: Path, found: dict[str, dict[str, Any]]) -> None:
    """Adds all figures to `found`; checkpoints that `kept` lacks are written there."""
    tokens, flow = kept / MODELS[options.size], kept / FLOW
    for folder in (tokens, flow) if options.flow else (tokens,):
        if not (folder / "config.json").is_file():
            say(f"writing random weights of {folder.name}")
            write_checkpoint(folder.name, folder)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(what, tokens, precision, options))
            for what, precisions in (("transformers", options.peer), ("ours", options.precisions))
            for precision in precisions
        ]
        for worker in workers:
            found[worker.label] = {**worker.ask("load"), "turns": []}
        for _ in range(options.turns):
            for worker in workers:
                found[worker.label]["turns"].append(worker.ask("turn"))
        for worker in workers:
            found[worker.label] |= worker.ask("rest")
    for precision in options.precisions if options.flow else ():
        with Worker("flow", flow, precision, options) as worker:
            found[f"ours {precision}"] |= worker.ask("rest")


def table(report: dict[str, Any]) -> list[str]:
    """Formats the report as a Markdown table."""
    found = report["found"]
    ours = {label: each for label, each in found.items() if label.startswith("ours ")}
    first = next(iter(ours))
    lines = [
        f"{report['machine']}, torch {report['torch']}, model {report['model']}; shares and ratios are "
        "medians over the turns",
        "",
        f"| | precision | time | share of bandwidth | transformers | {first} |",
        "|---|---|---|---|---|---|",
    ]
    for label, each in ours.items():
        precision, turns = label.removeprefix("ours "), each["turns"]
        peers = found.get(f"transformers {precision}", {}).get("turns", ())
        for name, key in STEPS:
            if key not in turns[0]:
                continue
            share = median(each["read per step"] / turn["memory"] / turn[key] for turn in turns)
            cells = (
                name.format(batch=report["batch"]),
                precision,
                _ms(turn[key] for turn in turns),
                f"{share:.0%}",
                _against(peers, turns, key),
                _against(ours[first]["turns"] if label != first else (), turns, key),
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines += [f"| {name} | {precision} | {_ms([each[key]])} | | | |" for name, key in ONCE if key in each]
        share = median(read / load for read, load in zip(each["file"], each["load"], strict=True))
        lines.append(
            f"| load, {each['weights'] / 1e9:.2f} GB | {precision} | {_ms(each['load'])}, {share:.0%} of the "
            f"speed of reading the file, peak {each['peak'] / each['weights']:.2f} x the weights | | | |"
        )
    return lines


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _ms(times: Any) -> str:
    return f"{1e3 * median(times):.0f} ms"


def _against(others: Any, turns: list[dict[str, float]], key: str) -> str:
    """Time of another model in the same turns, and its ratio to ours; empty if it was not measured."""
    pairs = [(other[key], turn[key]) for other, turn in zip(others, turns, strict=False) if key in other]
    if not pairs:
        return ""
    return f"{_ms(other for other, _ in pairs)}, {median(other / own for other, own in pairs):.2f} x"


def _machine(device: str) -> str:
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} CPU ({capability}), {torch.get_num_threads()} threads"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(MODELS), default="1b")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["bf16", "int8"])
    parser.add_argument(
        "--peer", nargs="*", default=["bf16"], help="precisions of transformers; none to leave it out"
    )
    parser.add_argument("--turns", type=_positive, default=5, help="turns at generating for each process")
    parser.add_argument("--steps", type=int, default=12, help="steps timed in a turn")
    parser.add_argument("--batch", type=int, default=4, help="images in the batch")
    parser.add_argument(
        "--flow", action=argparse.BooleanOptionalAction, default=True, help=f"measure {FLOW} too"
    )
    parser.add_argument("--folder", type=Path, help="keep the checkpoints there (4 to 18 GB) and reuse them")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
