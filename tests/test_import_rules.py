"""Which part of the code may import which: checks all import statements against the table below."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[1]

# Each part of janus_core and the parts it may import; a part may always import from itself.
ALLOWED: dict[str, set[str]] = {
    "arguments": set(),
    "config": set(),
    "prompt_batch": set(),
    "file_io": set(),
    "presets": {"config"},
    "processing": {"arguments", "config", "prompt_batch", "file_io"},
    "models": {"config", "prompt_batch"},
    "sampling": {"arguments", "config", "prompt_batch", "models"},
    "checkpoints": {"arguments", "config", "file_io", "presets", "models"},
    "pipeline": {"arguments", "config", "prompt_batch", "processing", "models", "sampling"},
    "loading": {
        *("arguments", "config", "file_io", "processing", "models", "sampling"),
        *("checkpoints", "pipeline"),
    },
    "captioning": {"arguments", "file_io", "processing", "sampling", "pipeline"},
}
ALLOWED["batch"] = {
    *("arguments", "config", "file_io", "processing", "models", "sampling", "checkpoints", "pipeline"),
    *("captioning", "loading"),
}
# Training starts from a pipeline, writes the same prompts, and evaluates with it.
ALLOWED["training"] = {*ALLOWED} - {"presets", "captioning", "batch"}
ALLOWED["__init__"] = set(ALLOWED) - {"training", "batch"}
PACKAGES = {"torch", "transformers", "tokenizers", "safetensors", "PIL", "numpy", "huggingface_hub"}
COMFYUI = {
    *("comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras"),
    *("execution", "folder_paths", "latent_preview", "node_helpers", "nodes", "server"),
}
TOKENIZER = "janus_core/processing/tokenizer.py"
TRITON = "janus_core/models/quantized/triton_kernels.py"  # needs the package's names at the top
CPU_MODELS = "janus_core.models.cpu."
MAX_LINES = 250
NOT_OURS = {"__pycache__", "build", "dist", "output"}


@dataclass(frozen=True)
class Import:
    """One imported name; `module` is dotted, relative imports resolved from the repository root."""

    line: int
    module: str
    name: str
    relative: bool
    top_level: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Yields every import of a file, also those inside functions and under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "", False, id(node) not in inner)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = package[: len(package) - node.level + 1]
                module = ".".join([*base, *([module] if module else [])])
            for alias in node.names:
                yield Import(node.lineno, module, alias.name, node.level > 0, id(node) not in inner)


def exported_names(root: Path) -> set[str]:
    """Reads `__all__` of `janus_core/__init__.py`; empty when there is none."""
    init = root / "janus_core" / "__init__.py"
    for node in ast.parse(init.read_text(encoding="utf-8")).body if init.exists() else ():
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return set(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return set()


def core_part(module: str, name: str = "") -> str:
    """Returns the part of janus_core that is imported; for `from .. import config` the name says it."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else name


def core_problem(file: str, imported: Import) -> str | None:
    """Describes what is wrong with an import in janus_core, or returns None."""
    if imported.relative:
        if imported.package != "janus_core":
            return "leaves janus_core"
        if imported.top_level and imported.module.endswith("triton_kernels"):
            return "needs Triton; import it inside the function that needs it"
        own = core_part(file.removesuffix(".py").replace("/", "."))
        other = core_part(imported.module, imported.name)
        if "models/quantized/" in file and f"{imported.module}.{imported.name}.".startswith(CPU_MODELS):
            return "is of 'models/cpu', which imports 'models/quantized'"
        if own not in ALLOWED:
            return f"is in '{own}', a part without a row in the table of this test"
        return None if other in ALLOWED[own] | {own} else f"is of '{other}', which '{own}' may not import"
    if imported.package == "janus_core":
        return "must be relative: ComfyUI loads the pack under another name"
    if imported.package in COMFYUI:
        return "is of ComfyUI, which janus_core must not depend on"
    if imported.package == "transformers" and (file != TOKENIZER or "Tokenizer" not in imported.name):
        return f"must be a tokenizer class, in {TOKENIZER}"
    allowed = PACKAGES | sys.stdlib_module_names | ({"triton"} if file == TRITON else set())
    if imported.top_level and imported.package not in allowed:
        return "is of a package that ComfyUI does not install; import it inside the function that needs it"
    return None


def nodes_problem(imported: Import, exported: set[str]) -> str | None:
    """Describes what is wrong with an import in nodes, or returns None."""
    if imported.package == "janus_core":
        if not imported.relative:
            return "must be relative: ComfyUI loads the pack under another name"
        if imported.module != "janus_core" or imported.name not in exported:
            return "is not among the names in `__all__` of janus_core/__init__.py"
        return None
    if imported.relative:
        return None if imported.package == "nodes" else "leaves nodes and janus_core"
    if imported.package == "transformers":
        return f"must be a tokenizer class, in {TOKENIZER}"
    if imported.top_level and imported.package not in PACKAGES | COMFYUI | sys.stdlib_module_names:
        return "is of a package that ComfyUI does not install; import it inside the function that needs it"
    return None


def import_problems(root: Path) -> list[str]:
    """Returns one line for every forbidden import below `janus_core/` and `nodes/`."""
    exported, problems = exported_names(root), []
    for path in [*sorted((root / "janus_core").rglob("*.py")), *sorted((root / "nodes").rglob("*.py"))]:
        file = path.relative_to(root).as_posix()
        for item in imports_of(path, root):
            core = file.startswith("janus_core/")
            if problem := core_problem(file, item) if core else nodes_problem(item, exported):
                name = f"{item.module}.{item.name}" if item.name else item.module
                problems.append(f"{file}:{item.line}: {name} {problem}")
    return problems


def long_files(root: Path) -> list[str]:
    """Returns the Python files of more than 250 lines whose docstring does not say 'long because …'."""
    found = []
    for path in sorted(root.rglob("*.py")):
        folders = path.relative_to(root).parts[:-1]
        if any(folder.startswith(".") or folder in NOT_OURS for folder in folders):
            continue
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        if lines > MAX_LINES and "long because" not in (ast.get_docstring(ast.parse(text)) or ""):
            found.append(f"{path.relative_to(root).as_posix()}: {lines} lines")
    return found


def test_every_import_is_allowed() -> None:
    assert import_problems(REPO_ROOT) == []


def test_long_files_give_a_reason() -> None:
    assert long_files(REPO_ROOT) == []


GOOD = {
    "janus_core/__init__.py": "from .pipeline import run\n__all__ = ['run']\n",
    "janus_core/config.py": "from dataclasses import dataclass\nimport torch.nn as nn\n",
    "janus_core/pipeline.py": "from . import config\nfrom .models import vq\n\ndef run():\n    import peft\n",
    "janus_core/models/__init__.py": "from .llama import Llama\n",
    "janus_core/models/llama.py": "from ..config import Config\nfrom .layers import X\nfrom . import cache\n",
    TOKENIZER: "from transformers import PreTrainedTokenizerFast\n",
    TRITON: "import triton\n",
    "nodes/__init__.py": "from comfy_api.latest import io\nfrom . import load\n",
    "nodes/load.py": "import folder_paths\nfrom ..janus_core import run\n",
}
BAD = {
    (
        "janus_core/config.py",
        "from .prompt_batch import PromptBatch",
    ): "is of 'prompt_batch', which 'config' may not",
    ("janus_core/models/llama.py", "from ..sampling.text import f"): "is of 'sampling', which 'models'",
    ("janus_core/models/llama.py", "from .. import presets"): "is of 'presets', which 'models' may not",
    ("janus_core/checkpoints/load.py", "from ..sampling import f"): "is of 'sampling', which 'checkpoints'",
    ("janus_core/pipeline.py", "def f():\n    from .training import x"): "is of 'training', which 'pipeline'",
    ("janus_core/extra.py", "from .config import x"): "is in 'extra', a part without a row",
    ("janus_core/models/quantized/registry.py", "from .. import cpu"): "is of 'models/cpu'",
    ("janus_core/config.py", "from janus_core.presets import x"): "must be relative",
    ("janus_core/config.py", "from ..nodes import x"): "leaves janus_core",
    ("janus_core/models/llama.py", "def f():\n    import comfy.utils"): "is of ComfyUI",
    ("janus_core/models/llama.py", "import folder_paths"): "is of ComfyUI",
    ("janus_core/models/llama.py", "from transformers import AutoTokenizer"): "must be a tokenizer class",
    (TOKENIZER, "from transformers import LlamaModel"): "must be a tokenizer class",
    (TOKENIZER, "import transformers"): "must be a tokenizer class",
    ("janus_core/models/quantized/kernels.py", "from .triton_kernels import f"): "needs Triton",
    ("janus_core/models/quantized/kernels.py", "from ..cpu import x"): "is of 'models/cpu', which",
    ("janus_core/models/vq.py", "import einops"): "is of a package that ComfyUI does not install",
    ("nodes/load.py", "from ..janus_core import secret"): "is not among the names in `__all__`",
    ("nodes/load.py", "from ..janus_core.pipeline import run"): "is not among the names in `__all__`",
    ("nodes/load.py", "import janus_core"): "must be relative",
    ("nodes/load.py", "from ..tests import x"): "leaves nodes and janus_core",
    ("nodes/load.py", "import cv2"): "is of a package that ComfyUI does not install",
    ("nodes/load.py", "import transformers"): "must be a tokenizer class",
}


def write_tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def test_checker_accepts_a_good_tree(tmp_path: Path) -> None:
    write_tree(tmp_path, GOOD)
    assert import_problems(tmp_path) == []


@pytest.mark.parametrize(("file", "statement"), BAD)
def test_checker_finds_a_bad_import(tmp_path: Path, file: str, statement: str) -> None:
    write_tree(tmp_path, {**GOOD, file: f"{GOOD.get(file, '')}{statement}\n"})
    (problem,) = import_problems(tmp_path)
    assert problem.startswith(f"{file}:")
    assert BAD[file, statement] in problem


def test_checker_finds_long_files_without_a_reason(tmp_path: Path) -> None:
    long = "x = 1\n" * (MAX_LINES + 1)
    reason = '"""B; long because it is a table."""\n'
    write_tree(tmp_path, {"a.py": long, "b.py": reason + long, ".venv/c.py": long})
    assert long_files(tmp_path) == [f"a.py: {MAX_LINES + 1} lines"]
