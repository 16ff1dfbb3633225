"""What arrives at the inputs of nodes: wrong values give one sentence that names the input, in every node.

Reported of other nodes: cubiq/ComfyUI_IPAdapter_plus #63 (None from a node that was bypassed) and
Comfy-Org/ComfyUI #15199.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import math
import re
import textwrap
from typing import Any

import numpy as np
import pytest
import torch
from comfy_api.latest import io
from janus_nodes.janus_core import VisionFeatures
from janus_nodes.nodes import comfy_entrypoint
from janus_nodes.nodes.generate import JanusGenerate
from janus_nodes.nodes.memory import LoadedJanus
from janus_nodes.nodes.own_values import can_be_own
from janus_nodes.nodes.sockets import check_input
from janus_nodes.nodes.understand import JanusUnderstand
from PIL import Image
from support.node_runs import run, widgets

NODES: list[type[io.ComfyNode]] = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
INPUTS = [(node, entry) for node in NODES for entry in node.define_schema().inputs]

WRONG: dict[str, Any] = {
    "None": None,
    "an empty list": [],
    "a list of texts": ["a", "b"],
    "a tuple": (1, 2),
    "a whole number": 3,
    "a fraction": 2.5,
    "a boolean": True,
    "bytes": b"x",
    "half a character": "a \ud800",
    "NUL": "a \0",
    "a text": "7",
    "a dict": {"samples": None},
    "an object": object(),
    "a numpy array": np.zeros((1, 8, 8, 3), dtype=np.uint8),
    "a picture of Pillow": Image.new("RGB", (8, 8)),
    "a scalar": torch.zeros(()),
}
TEXTS, NUMBERS = {"a text"}, {"a whole number"}
# What is no fault in an input of that type.
FITTING = {
    "STRING": TEXTS,
    "COMBO": TEXTS | {"half a character", "NUL"},  # refused with the options, as none of them
    "INT": NUMBERS,
    "FLOAT": NUMBERS | {"a fraction"},
    "BOOLEAN": {"a boolean"},
    "MASK": {"a scalar"},  # its shape is the core's to check
    "JANUS_IMAGE_TOKENS": {"a scalar"},
}


class StandIn:
    """Fails if a node does anything with an input."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was used before all inputs were checked")


def valid(entry: io.Input) -> Any:
    """A value that an input accepts, and with which a run would fail if it started."""
    if isinstance(entry, io.WidgetInput):
        return "any" if entry.default is None else entry.default
    if entry.get_io_type() == "JANUS_PIPELINE":
        return LoadedJanus(StandIn(), StandIn(), StandIn())
    if entry.get_io_type() == "LATENT":
        return {"samples": torch.zeros(1, 4, 8, 8)}
    return torch.zeros(1, 8, 8, 3) if entry.get_io_type() == "IMAGE" else torch.zeros(1, 16)


@pytest.mark.parametrize(
    ("node", "entry"), INPUTS, ids=lambda each: getattr(each, "id", None) or each.__name__
)
def test_every_input_of_every_node_refuses_other_values_by_its_name(
    node: type[io.ComfyNode], entry: io.Input
) -> None:
    given = {other.id: valid(other) for other in node.define_schema().inputs if not other.optional}
    tried = 0
    for label, value in WRONG.items():
        if label in FITTING.get(str(entry.get_io_type()), ()):
            continue
        if value is None and entry.optional and not isinstance(entry, io.WidgetInput):
            continue  # not connected
        with pytest.raises(ValueError, match=rf"^{entry.id} must [^\n]+, got [^\n]+; [^\n]+$") as refused:
            run(node, **given | {entry.id: value})
        assert len(str(refused.value)) < 700, label
        tried += 1
    assert tried >= 12


def test_a_bypassed_loader_is_named(loaded: LoadedJanus) -> None:
    message = "model must be a Janus model, got None; connect Load Janus-Pro, and do not bypass it"
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(JanusGenerate, model=None)


@pytest.mark.parametrize("seed", [-1, -(2**70)])
def test_numbers_below_the_widgets_range_are_named(loaded: LoadedJanus, seed: int) -> None:
    with pytest.raises(ValueError, match=f"^seed must be at least 0, got {seed}; connect a larger number$"):
        run(JanusGenerate, model=loaded, seed=seed)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_numbers_outside_of_a_widgets_range_are_named(node: type[io.ComfyNode]) -> None:
    given = {other.id: valid(other) for other in node.define_schema().inputs if not other.optional}
    for entry in node.define_schema().inputs:
        if not isinstance(entry, io.Int.Input | io.Float.Input):
            continue
        is_whole = isinstance(entry, io.Int.Input)
        assert entry.min is not None and entry.max is not None, entry.id
        check_input(entry, entry.min)
        check_input(entry, entry.max)
        low = f"^{entry.id} must be at least {re.escape(str(entry.min))}, got [^;]+; connect a larger number$"
        if can_be_own(entry):
            low = f"^{entry.id} must be -1 for [^,]+, or at least [^;]+; set one of these$"
        high = (
            f"^{entry.id} must be at most {re.escape(str(entry.max))}, got [^;]+; connect a smaller number$"
        )
        for value in (entry.min - 1, -(10**30) if is_whole else -math.inf):
            with pytest.raises(ValueError, match=low):
                run(node, **given | {entry.id: value})
        for value in (entry.max + 1, 10**30 if is_whole else math.inf):
            with pytest.raises(ValueError, match=high):
                run(node, **given | {entry.id: value})
        if not is_whole:
            with pytest.raises(ValueError, match=f"^{entry.id} must be a number, got nan; connect a number$"):
                run(node, **given | {entry.id: math.nan})


def test_a_batch_beyond_the_memory_is_named(loaded: LoadedJanus) -> None:
    message = f"batch_size must be at most 256, got {10**30}; connect a smaller number"
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(JanusGenerate, model=loaded, batch_size=10**30)


def test_fitting_values_of_numpy_are_accepted() -> None:
    entries = {entry.id: entry for entry in JanusUnderstand.define_schema().inputs}
    for name, value in (("seed", np.int64(3)), ("temperature", np.float32(0.5)), ("temperature", 1)):
        check_input(entries[name], value)
    check_input(entries["question"], np.str_("What?"))


def test_features_of_another_model_are_named(loaded: LoadedJanus) -> None:
    other = VisionFeatures(torch.zeros(1, 3, 5), torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match=r"^features must be \[B, \d+, \d+\] as this model's, got shape"):
        run(JanusUnderstand, model=loaded, features=other)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_type_of_input_is_known(node: type[io.ComfyNode]) -> None:
    for entry in node.define_schema().inputs:
        if isinstance(entry, io.WidgetInput) and entry.id in widgets(node) and entry.default is not None:
            check_input(entry, entry.default)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)
def test_every_node_checks_its_inputs(node: type[io.ComfyNode]) -> None:
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(node.execute))).body
    assert isinstance(function, ast.FunctionDef)
    decorators = [ast.unparse(each) for each in function.decorator_list]
    assert decorators == ["classmethod", "checks_inputs"]
