"""The project's commands; they need nothing but Python.

    python3 tasks.py demo                  run the example workflows on a real ComfyUI, results go to output/
    python3 tasks.py demo --serve          the same, then keep that ComfyUI running until Ctrl-C
    python3 tasks.py screenshots [NAME]    screenshots of the example workflows for templates and README
    python3 tasks.py help-pictures [NODE]  pictures of the nodes for their help pages
    python3 tasks.py test                  all checks: lint, format, types and all tests
    python3 tasks.py test -k vq            only pytest, with these arguments
    python3.10 tasks.py test-lowest        tests of core and training with the lowest supported versions

Each first installs its `tests/requirements*.txt` into `.venv` or `.venv-lowest`, unless that is up to date.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
TESTS = ROOT / "tests"


@dataclass(frozen=True)
class Environment:
    """A virtual environment and the files of what is installed into it, each with further options of pip."""

    folder: Path
    requirements: Mapping[str, tuple[str, ...]]

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


NEWEST = Environment(ROOT / ".venv", {"requirements.txt": (), "requirements-nodeps.txt": ("--no-deps",)})
LOWEST = Environment(ROOT / ".venv-lowest", {"requirements-lowest.txt": ()})
# These compare with transformers' own Janus, as its release 5 computes and saves it.
ORACLES = (
    "tests/core/checkpoints/layouts/test_transformers.py",
    "tests/core/checkpoints/test_adapters_of_transformers.py",
    "tests/core/checkpoints/test_tying.py",
    "tests/core/pipeline/test_oracle.py",
    "tests/core/processing/test_image_settings.py",
)
LOWEST_TESTS = (
    *("tests/core", "tests/training", "tests/test_golden.py", "-m", "not slow"),
    *(f"--ignore={file}" for file in ORACLES),
    # It repeats draws of torch.multinomial, whose random stream differs in PyTorch 2.5.
    "--deselect=tests/core/pipeline/test_editing.py::test_sampled_ids_equal_the_reference",
)

# Tests with servers and a browser wait much and need few cores, so they run beside the other checks.
BESIDE, BESIDE_ARGUMENTS = "pytest tests/e2e", ("-m", "pytest", "tests/e2e")
CHECKS = {
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
    "pytest, but tests/e2e": ("-m", "pytest", "--ignore=tests/e2e"),
}


def say(text: str) -> None:
    """Writes a line at once, so that it precedes the output of child processes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def start(
    arguments: Sequence[str],
    variables: Mapping[str, str] | None = None,
    environment: Environment = NEWEST,
    output: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts the Python of a virtual environment; `output` receives what it writes, if given."""
    command = [str(environment.python), *arguments]
    errors = subprocess.STDOUT if output else None
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **(variables or {})}, stdout=output, stderr=errors
    )


def wait(process: subprocess.Popen[bytes], *others: subprocess.Popen[bytes]) -> int:
    """Returns a process's exit code; a signal to end reaches it and the others."""

    def end(*_: object) -> None:
        for each in (process, *others):
            each.terminate()

    signal.signal(signal.SIGTERM, end)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            pass  # the processes have received the Ctrl-C too, and clean up before they end


def run(arguments: Sequence[str], environment: Environment = NEWEST) -> int:
    """Runs the Python of a virtual environment and returns its exit code."""
    return wait(start(arguments, environment=environment))


def prepare(environment: Environment = NEWEST) -> None:
    """Creates or updates an environment; does nothing if its requirement files have not changed."""
    files = {TESTS / name: options for name, options in environment.requirements.items()}
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = environment.folder / "requirements.sha256"
    if environment.python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    say(f"Preparing {environment.folder} (once; this takes some minutes and gigabytes)")
    # Updates an existing environment as well, and repairs an incomplete one.
    subprocess.run([sys.executable, "-m", "venv", str(environment.folder)], check=True)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    for file, options in files.items():
        if run([*install, *options, "-r", str(file)], environment=environment):
            raise SystemExit(f"{file} must be installable; see pip's message above")
    # Written last, so that an interrupted installation is repeated.
    stamp.write_text(wanted, encoding="utf-8")


def test(pytest_arguments: Sequence[str]) -> int:
    """Runs all checks, or only pytest if there are arguments for it; returns the exit code."""
    if pytest_arguments:
        return run(["-m", "pytest", *pytest_arguments])
    # Without a ComfyUI the full run must fail instead of skipping tests.
    variables = {"JANUS_REQUIRE_COMFYUI": "1"}
    codes, began = {}, time.monotonic()
    with tempfile.TemporaryFile() as output:
        beside = start(BESIDE_ARGUMENTS, variables, output=output)
        for name, arguments in CHECKS.items():
            say(f"\n== {name}")
            since = time.monotonic()
            codes[name] = wait(start(arguments, variables), beside)
            say(f"== {name}: {time.monotonic() - since:.0f} s")
        codes[BESIDE] = wait(beside)
        output.seek(0)
        say(f"\n== {BESIDE}\n{output.read().decode(errors='replace')}")
        say(f"== all: {time.monotonic() - began:.0f} s")
    failed = [name for name, code in codes.items() if code]
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
        case ["test-lowest"]:
            prepare(LOWEST)
            return run(["-m", "pytest", *LOWEST_TESTS], environment=LOWEST)
        case ["demo"] | ["demo", "--serve"]:
            prepare()
            return demo(serve=len(arguments) == 2)
        case ["screenshots", *names]:
            prepare()
            return run(["-m", "dev.screenshots", *names])
        case ["help-pictures", *nodes]:
            prepare()
            return run(["-m", "dev.help_pictures", *nodes])
        case _:
            say(str(__doc__))
            return 0 if arguments in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
