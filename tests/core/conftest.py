"""Fixtures of the core's tests: the golden checkpoint, what was recorded of it, and its input images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import DEMONSTRATION, JanusPipeline, load_pipeline
from janus_nodes.janus_core.processing.chat import Message
from PIL import Image
from torch import Tensor


class Recorded:
    """The reference's numbers on the golden checkpoint; remembers which of them were asked for."""

    def __init__(self, golden: Any) -> None:
        self.golden = golden
        self.used: set[str] = set()

    @property
    def names(self) -> set[str]:
        """Everything that was recorded."""
        return set(self.golden.manifest["tensors"]) | set(self.golden.manifest["values"])

    def has(self, name: str) -> bool:
        """Whether a tensor of that name was recorded."""
        return name in self.golden.manifest["tensors"]

    def tensor(self, name: str) -> Tensor:
        """A recorded tensor."""
        self.used.add(name)
        tensor: Tensor = self.golden.tensor(name)
        return tensor

    def value(self, name: str) -> Any:
        """A recorded value."""
        self.used.add(name)
        return self.golden.value(name)

    def messages(self, conversation: str) -> list[Message]:
        """The turns of a recorded conversation."""
        turns = self.value("conversations")[conversation]["conversations"]
        return [Message(turn["role"], turn["content"]) for turn in turns]

    def images(self, conversation: str) -> list[str]:
        """Names of the images of a recorded conversation."""
        names: list[str] = self.value("conversations")[conversation]["images"]
        return names


@pytest.fixture(scope="session")
def recorded(golden: Callable[[str], Any]) -> Recorded:
    """What the reference computes on `janus-pro-tiny`."""
    return Recorded(golden("janus-pro-tiny"))


@pytest.fixture(scope="session")
def flow_recorded(golden: Callable[[str], Any]) -> Recorded:
    """What the reference computes on `janusflow-tiny`."""
    return Recorded(golden("janusflow-tiny"))


@pytest.fixture(scope="session")
def flow_pipe(golden_root: Path) -> JanusPipeline:
    """The golden checkpoint that draws by a flow, with its VAE, in float32. Tests must leave it as it is."""
    return load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32)


@pytest.fixture(scope="session")
def shapes_pipe() -> JanusPipeline:
    """The built-in demonstration checkpoint, in float32. Tests must leave it as it is."""
    return load_pipeline(DEMONSTRATION, dtype=torch.float32)


@pytest.fixture(scope="session")
def picture(golden_root: Path) -> Callable[[str], Tensor]:
    """Returns a golden input image [H, W, C] in [0, 1]: `picture("landscape_rgb")`."""

    def load(name: str) -> Tensor:
        with Image.open(golden_root / "images" / f"{name}.png") as image:
            pixels = np.array(image)
        return torch.from_numpy(pixels[..., None] if pixels.ndim == 2 else pixels).float() / 255

    return load


COLLECTED_FILES = pytest.StashKey[set[Path]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts test_golden_use.py last, and notes the files before `-m` and `-k` are applied."""
    items.sort(key=lambda item: item.path.name == "test_golden_use.py")
    config.stash[COLLECTED_FILES] = {item.path for item in items}


@pytest.fixture(scope="session")
def collected_files(pytestconfig: pytest.Config) -> set[Path]:
    """The test files of this run."""
    return pytestconfig.stash[COLLECTED_FILES]


@pytest.fixture
def images() -> Tensor:
    """Five pictures."""
    return torch.rand(5, 20, 33, 3, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def no_grad() -> Iterator[None]:
    """Runs a test that calls modules directly without recording gradients."""
    with torch.no_grad():
        yield
