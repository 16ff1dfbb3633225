"""How fast drawing, answering and loading are, beside what the machine's memory allows and a peer.

`python dev/benchmarks/speed.py` writes checkpoints of the released sizes with made-up weights and measures
each number format, ours and transformers', in a process of its own. All are in memory at once (12 GB for the
formats of Janus-Pro-1B that are measured unless others are named, and 5 GB while one loads) and take turns at
drawing, because what a shared machine gives changes from minute to minute: ratios are medians of what was
found within one turn. It prints a table and, with --json, writes all figures.
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

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from peer import write_checkpoint  # noqa: E402

MEASURE = Path(__file__).with_name("measure.py")
MODELS = {"1b": "Janus-Pro-1B", "7b": "Janus-Pro-7B"}
FLOW = "JanusFlow-1.3B"
# What reading the weights bounds: name of the row, and key. These are measured in every turn.
STEPS = (
    ("draw: one step, one image with guidance", "step"),
    ("draw: one step in the middle of an image", "step, middle"),
    ("draw: one step, batch of {batch}", "step, batch"),
    ("draw: one step in a CUDA graph, one image with guidance", "step, captured"),
    ("draw: one step in a CUDA graph, batch of {batch}", "step, captured, batch"),
)
# What has no turns.
ONCE = (
    ("draw: one step, prompt of 1,000 tokens", "step, long prompt"),
    ("answer: one token", "text step"),
    ("answer: reading 600 tokens", "prefill"),
    ("SigLIP encode, one image", "see"),
    ("VQ decode, one image", "pixels"),
    ("first 4 tokens after a load", "first steps"),
    ("first 4 tokens of the next image", "first steps again"),
    ("JanusFlow: one step with guidance", "flow step"),
)


class Worker:
    """A process that measures one number format."""

    def __init__(self, what: str, folder: Path, precision: str, options: argparse.Namespace) -> None:
        self.label = f"{what} {precision}"
        numbers = (str(folder), str(options.steps), str(options.batch))
        command = [sys.executable, str(MEASURE), what, options.device, precision, *numbers]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, what: str) -> dict[str, Any]:
        """What it finds of `load`, a `turn` or the `rest`."""
        say(f"{self.label}: {what}")
        assert self.process.stdin is not None and self.process.stdout is not None  # both are pipes
        answer = ""
        with suppress(BrokenPipeError):  # it ended between two questions
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.label} must answer, got an end; its error stands above, if it had one")
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
    finally:  # what was found before a failure took minutes too
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for line in table(report):
        say(line)


def measure(options: argparse.Namespace, kept: Path, found: dict[str, dict[str, Any]]) -> None:
    """Adds all figures to `found`; `kept` holds the checkpoints, or will."""
    tokens, flow = kept / MODELS[options.size], kept / FLOW
    for folder in (tokens, flow) if options.flow else (tokens,):
        if not (folder / "config.json").is_file():
            say(f"writing made-up weights of {folder.name}")
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
    """The report as a Markdown table."""
    found = report["found"]
    ours = {label: each for label, each in found.items() if label.startswith("ours ")}
    first = next(iter(ours))
    lines = [
        f"{report['machine']}, torch {report['torch']}, model {report['model']}; what has a share or a ratio "
        "is a median of turns",
        "",
        f"| | precision | time | of the memory's limit | transformers takes | {first} takes |",
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
            f"file's raw rate, peak {each['peak'] / each['weights']:.2f} x the weights | | | |"
        )
    return lines


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _ms(times: Any) -> str:
    return f"{1e3 * median(times):.0f} ms"


def _against(others: Any, turns: list[dict[str, float]], key: str) -> str:
    """Time of another in the same turns, and how many times ours it is; empty if it was not measured."""
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
    parser.add_argument("--peer", nargs="*", default=["bf16"], help="number formats of transformers; or none")
    parser.add_argument("--turns", type=_positive, default=5, help="turns that each takes at drawing")
    parser.add_argument("--steps", type=int, default=12, help="steps that are timed in a turn")
    parser.add_argument("--batch", type=int, default=4, help="images of the batch")
    parser.add_argument("--flow", action=argparse.BooleanOptionalAction, default=True, help=f"{FLOW} too")
    parser.add_argument("--folder", type=Path, help="keeps the weights there, 4 to 18 GB, for another time")
    parser.add_argument("--json", type=Path, help="writes the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
