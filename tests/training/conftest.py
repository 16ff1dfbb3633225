"""Fixtures of the tests of training: a small model of random weights, on one thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline

from dev.comfyui.launch import TorchvisionOperators

# peft imports transformers' model classes, and these torchvision.
sys.meta_path.insert(0, TorchvisionOperators())


@pytest.fixture(scope="session")
def pipe(golden_root: Path) -> JanusPipeline:
    """The golden checkpoint, in float32. Tests must leave it as it is."""
    return load_pipeline(golden_root / "janus-pro-tiny", dtype=torch.float32)


@pytest.fixture(scope="package", autouse=True)
def single_thread() -> Iterator[None]:
    """Computes on one thread: a run that goes on after a pause is bit-identical on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
