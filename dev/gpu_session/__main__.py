"""The command: `python -m dev.gpu_session [--device cpu] [--parts PART…] [--seconds 450] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from janus_core.models.devices import ACCELERATORS, present_accelerator

from ..benchmarks.speed import say
from .checks import eviction, recovery, waits
from .equality import equality
from .memory import memory
from .session import Session
from .speed import kernels, machine, steps

# In order of worth: the last ones are left out where time runs out.
PARTS: dict[str, Callable[[Session], None]] = {
    "equality": equality,
    "waits": waits,
    "recovery": recovery,
    "eviction": eviction,
    "steps": steps,
    "memory": memory,
    "kernels": kernels,
}


def main() -> int:
    """Runs the parts and prints a table; returns 1 if a requirement is not met or a part had an error."""
    options = _options()
    session = Session(options.device, options.seconds, options.json)
    with torch.inference_mode():
        session.run("machine", machine)
        for name in options.parts:
            session.run(name, PARTS[name])
    session.save()
    say("")
    for line in session.table():
        say(line)
    return int(session.has_failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.gpu_session", description=__doc__)
    parser.add_argument("--device", choices=("cpu", *ACCELERATORS), default=present_accelerator() or "cpu")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--seconds", type=float, default=450, help="after which no other figure is begun")
    parser.add_argument("--json", type=Path, help="write all figures to this file, after each of them")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
