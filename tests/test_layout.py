"""House rules that can be read from the sources: where files are, and what they must not contain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[1]
MAX_EXECUTE_STATEMENTS = 15
MIRRORED = {"core": "janus_core", "nodes": "nodes", "training": "janus_core/training"}
SUPPORT = {"conftest.py", "inside.py"}  # Python files among the tests that hold no tests
TOOLS = {
    "benchmarks",
    "browser",
    "comfyui",
    "demo.py",
    "gpu_session",
    "help_pictures.py",
    "registry",
    "screenshots.py",
    "__init__.py",
}


def sources(root: Path, *folders: str) -> Iterator[tuple[str, str]]:
    """Path and text of every Python file in some folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def misplaced_tests(root: Path) -> list[str]:
    """Tests that do not mirror the tree of what they test.

    A folder of tests has the name of a package; a test that is named after a module of the tree lies in the
    folder of such a module.
    """
    problems = []
    for tests, package in MIRRORED.items():
        modules: dict[str, set[Path]] = {}
        for path in (root / package).rglob("*.py"):
            modules.setdefault(path.stem, set()).add(path.relative_to(root / package).parent)
        for path in sorted((root / "tests" / tests).rglob("test_*.py")):
            folder = path.relative_to(root / "tests" / tests).parent
            name = path.relative_to(root).as_posix()
            expected = modules.get(path.stem.removeprefix("test_"), {folder})
            if not (root / package / folder / "__init__.py").is_file():
                problems.append(f"{name}: {package}/{folder.as_posix()} is no package")
            elif folder not in expected:
                places = ", ".join(f"{package}/{place.as_posix()}" for place in sorted(expected))
                problems.append(f"{name}: the module of this name is in {places}")
    return problems


def stray_files(root: Path) -> list[str]:
    """Python files in `tests/` that are neither tests nor their support, and unknown entries of `dev/`."""
    found = [
        path.relative_to(root).as_posix()
        for path in sorted((root / "tests").rglob("*.py"))
        if not path.name.startswith("test_")
        and path.name not in SUPPORT
        and "support" not in path.relative_to(root).parts
    ]
    entries = {path.name for path in (root / "dev").iterdir() if path.name != "__pycache__"}
    return found + [f"dev/{name}" for name in sorted(entries - TOOLS)]


def formatter_switches(root: Path) -> list[str]:
    """Lines that switch the formatter off."""
    return [
        f"{file}:{number}"
        for file, text in sources(root, "janus_core", "nodes")
        for number, line in enumerate(text.splitlines(), start=1)
        if "# fmt:" in line
    ]


def executed_at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes that run when a module is imported: not the bodies of functions."""
    pending: list[ast.AST] = [*body]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += node.decorator_list
        elif not isinstance(node, ast.Lambda):
            pending += ast.iter_child_nodes(node)


def warning_filters(root: Path) -> list[str]:
    """Calls that change the warnings filters of the whole process at import."""
    names = ("warnings.filterwarnings", "warnings.simplefilter")
    return [
        f"{file}:{node.lineno}"
        for file, text in sources(root, "janus_core", "nodes")
        for node in executed_at_import(ast.parse(text).body)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names
    ]


def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Number of statements in a function, nested ones included and its docstring not."""
    inner = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    return len(inner) - (ast.get_docstring(function) is not None)


def long_executes(root: Path) -> list[str]:
    """Nodes that do too much themselves."""
    return [
        f"{file}: {node.name}.execute has {count} statements"
        for file, text in sources(root, "nodes")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
        for function in node.body
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name == "execute"
        if (count := statements(function)) > MAX_EXECUTE_STATEMENTS
    ]


RULES = (misplaced_tests, stray_files, formatter_switches, warning_filters, long_executes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_is_followed(rule: object) -> None:
    assert callable(rule)
    assert rule(REPO_ROOT) == []


GOOD = {
    "janus_core/__init__.py": "",
    "janus_core/models/__init__.py": "def f():\n    warnings.filterwarnings('ignore')\n",
    "janus_core/models/vq.py": "def f():\n    with warnings.catch_warnings():\n        pass\n",
    "janus_core/training/__init__.py": "",
    "nodes/__init__.py": "",
    "nodes/load.py": "class Load:\n    def execute(self):\n        '''Loads.'''\n" + "        a = 1\n" * 15,
    "tests/core/models/test_vq.py": "",
    "tests/core/models/test_of_no_module.py": "",
    "tests/support/pictures.py": "",
    "tests/conftest.py": "",
    "dev/demo.py": "",
}
BAD = {
    "tests/core/test_vq.py": ("", "tests/core/test_vq.py: the module of this name is in janus_core/models"),
    "tests/core/moels/test_x.py": ("", "tests/core/moels/test_x.py: janus_core/moels is no package"),
    "tests/core/models/helper.py": ("", "tests/core/models/helper.py"),
    "dev/notes.txt": ("", "dev/notes.txt"),
    "janus_core/a.py": ("x = [1,  2]  # fmt: skip\n", "janus_core/a.py:1"),
    "janus_core/b.py": ("if True:\n    warnings.simplefilter('ignore')\n", "janus_core/b.py:2"),
    "nodes/long.py": (
        "class Long:\n    def execute(self):\n        if True:\n" + "            a = 1\n" * 15,
        "nodes/long.py: Long.execute has 16 statements",
    ),
}


def broken_rules(root: Path, files: dict[str, str]) -> list[str]:
    """Writes a tree of files and applies every rule."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return [problem for rule in RULES for problem in rule(root)]


def test_good_tree_is_accepted(tmp_path: Path) -> None:
    assert broken_rules(tmp_path, GOOD) == []


@pytest.mark.parametrize("file", BAD)
def test_each_rule_finds_what_breaks_it(tmp_path: Path, file: str) -> None:
    text, problem = BAD[file]
    assert broken_rules(tmp_path, {**GOOD, file: text}) == [problem]
