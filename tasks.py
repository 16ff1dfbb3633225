"""The project's commands; they need nothing but Python.

    python3 tasks.py demo                  run the example workflows on a real ComfyUI, results go to output/
    python3 tasks.py demo --serve          the same, then keep that ComfyUI running until Ctrl-C
    python3 tasks.py screenshots [NAME]    screenshots of the example workflows for templates, help and README
    python3 tasks.py test                  all checks: lint, format, types and all tests
    python3 tasks.py test -k vq            only pytest, with these arguments

Each first installs `tests/requirements*.txt` into `.venv`, unless that is up to date.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "requirements.sha256"
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
REQUIREMENTS_NODEPS = ROOT / "tests" / "requirements-nodeps.txt"

CHECKS = {
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
    "pytest": ("-m", "pytest"),
}


def say(text: str) -> None:
    """Writes a line at once, so that it precedes the output of child processes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(arguments: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> int:
    """Runs the environment's Python and returns its exit code."""
    command = [str(VENV_PYTHON), *arguments]
    process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(environment or {})})
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            pass  # the process has received the Ctrl-C too, and cleans up before it ends


def prepare() -> None:
    """Creates or updates `.venv`; does nothing if the requirement files have not changed."""
    contents = REQUIREMENTS.read_bytes() + REQUIREMENTS_NODEPS.read_bytes()
    wanted = hashlib.sha256(contents).hexdigest()
    if VENV_PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    say(f"Preparing {VENV} (once; this takes some minutes and 2 GB)")
    # Updates an existing environment as well, and repairs an incomplete one.
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    steps = [("-r", str(REQUIREMENTS)), ("--no-deps", "-r", str(REQUIREMENTS_NODEPS))]
    if any(run([*install, *step]) for step in steps):
        raise SystemExit("tests/requirements*.txt must be installable; see pip's message above")
    # Written last, so that an interrupted installation is repeated.
    STAMP.write_text(wanted, encoding="utf-8")


def test(pytest_arguments: Sequence[str]) -> int:
    """Runs all checks, or only pytest if there are arguments for it; returns the exit code."""
    if pytest_arguments:
        return run(["-m", "pytest", *pytest_arguments])
    failed = []
    for name, arguments in CHECKS.items():
        say(f"\n== {name}")
        start = time.monotonic()
        # Without a ComfyUI the full run must fail instead of skipping tests.
        if run(arguments, {"JANUS_REQUIRE_COMFYUI": "1"}):
            failed.append(name)
        say(f"== {name}: {time.monotonic() - start:.0f} s")
    say(f"\nFAILED: {', '.join(failed)}" if failed else "\nAll checks passed.")
    return 1 if failed else 0


def demo(serve: bool) -> int:
    """Runs the example workflows on a ComfyUI server; returns the exit code."""
    return run(["-m", "dev.demo", *(["--serve"] if serve else [])])


def main(arguments: Sequence[str]) -> int:
    """Runs the task named on the command line; returns the exit code."""
    match arguments:
        case ["test", *pytest_arguments]:
            prepare()
            return test(pytest_arguments)
        case ["demo"] | ["demo", "--serve"]:
            prepare()
            return demo(serve=len(arguments) == 2)
        case ["screenshots", *names]:
            prepare()
            return run(["-m", "dev.screenshots", *names])
        case _:
            say(str(__doc__))
            return 0 if arguments in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
