"""Tests in another process: one that hangs or crashes fails alone, and the others still run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.remote_tests import Limits, RemoteTests

PROGRAM = """
import sys
from pathlib import Path
from support.remote_plugin import run_requested
sys.exit(run_requested(Path(sys.argv[-1]), sys.argv[1:-1]))
"""
HANGS = "import time\n\ndef test_hangs():\n    print('about to wait')\n    time.sleep(600)\n"
CRASHES = "import os\n\ndef test_crashes():\n    print('about to end')\n    os._exit(7)\n"
PASSES = "def test_first():\n    pass\n\ndef test_last():\n    pass\n"


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Callable[..., RemoteTests]]:
    """Makes `RemoteTests` of files with the given contents; a test is named by its file and its function."""
    made: list[RemoteTests] = []
    (tmp_path / "pytest.ini").touch()  # the root of these tests

    def make(tests: list[tuple[str, str]], case: float = 60, **files: str) -> RemoteTests:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", PROGRAM, f"--rootdir={tmp_path}", f"--confcutdir={tmp_path}"]
        paths = [(str(tmp_path / f"{file}.py"), function) for file, function in tests]
        made.append(RemoteTests(command, paths, Limits(start=60, case=case)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def failures(remote: RemoteTests) -> list[list[str]]:
    """Failures of each test, in their order."""
    return [remote.result(test).failures for test in remote.tests]


def test_hanging_test_fails_alone_with_its_output(remote: Callable[..., RemoteTests]) -> None:
    order = [("passes", "test_first"), ("hangs", "test_hangs"), ("passes_too", "test_last")]
    tests = remote(order, case=2, passes=PASSES, hangs=HANGS, passes_too=PASSES)
    first, (reason,), last = failures(tests)
    assert first == last == []
    assert "hangs.py::test_hangs: no result within 2 s" in reason
    assert "about to wait" in reason
    assert "line 5 in test_hangs" in reason  # where it hangs
    assert tests.processes == 2


def test_crashing_test_fails_alone_with_its_output(remote: Callable[..., RemoteTests]) -> None:
    order = [("passes", "test_first"), ("crashes", "test_crashes"), ("passes_too", "test_last")]
    tests = remote(order, passes=PASSES, crashes=CRASHES, passes_too=PASSES)
    first, (reason,), last = failures(tests)
    assert first == last == []
    assert "crashes.py::test_crashes: the process ended with code 7" in reason
    assert "about to end" in reason
    assert tests.processes == 2


def test_all_cases_of_a_function_count(remote: Callable[..., RemoteTests]) -> None:
    text = (
        "import pytest\n\n@pytest.mark.parametrize('number', [1, 2, 3])\ndef test_it(number):\n"
        "    print('number', number)\n    assert number == 1\n"
    )
    tests = remote([("cases", "test_it")], cases=text)
    ((second, third),) = failures(tests)
    assert second.startswith("cases.py::test_it[2]\n") and "assert 2 == 1" in second
    assert third.startswith("cases.py::test_it[3]\n") and "number 3" in third


def test_skipped_test_tells_why(remote: Callable[..., RemoteTests]) -> None:
    tests = remote(
        [("skips", "test_it")], skips="import pytest\n\ndef test_it():\n    pytest.skip('too hot')\n"
    )
    (test,) = tests.tests
    assert tests.result(test).failures == []
    assert "too hot" in tests.result(test).skips[0]


def test_file_that_cannot_be_imported_fails_its_own_tests(remote: Callable[..., RemoteTests]) -> None:
    tests = remote(
        [("broken", "test_it"), ("passes", "test_last")], broken="import nowhere_to_be_found\n", passes=PASSES
    )
    (reason,), last = failures(tests)
    assert "nowhere_to_be_found" in reason
    assert last == []
    assert tests.processes == 1


def test_only_the_requested_tests_run(remote: Callable[..., RemoteTests]) -> None:
    tests = remote([("passes", "test_last")], passes=PASSES + "\ndef test_other():\n    assert False\n")
    assert failures(tests) == [[]]


def test_process_that_never_starts_is_started_once() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such module')"]
    tests = RemoteTests(command, [("a.py", "test_one"), ("a.py", "test_two")])
    (first,), (second,) = failures(tests)
    assert "before the first test: the process ended with code 1" in first
    assert "no such module" in first
    assert "the first failed test shows the output" in second
    assert tests.processes == 1
