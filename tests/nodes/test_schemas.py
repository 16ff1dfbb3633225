"""Node schemas, which saved workflows depend on: ids, names, order, types, ranges, defaults.

They are pinned in schemas.json. Dropping, reordering or narrowing anything breaks saved workflows, and so
does adding a widget before others. After adding one at the end, update the file: run
`python -m pytest -vv tests/nodes/test_schemas.py`, and copy the JSON from the failure.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from comfy_api.latest import io
from janus_nodes.nodes import comfy_entrypoint
from janus_nodes.nodes.choices import RENAMED
from support.checkpoints import copy_checkpoint

PINNED = Path(__file__).with_name("schemas.json")
MAX_EXECUTE_STATEMENTS = 15
# Combos whose options depend on the machine.
VARYING = {("JanusLoad", "checkpoint"), ("JanusLora", "adapter")}

NODES: list[type[io.ComfyNode]] = asyncio.run(asyncio.run(comfy_entrypoint()).get_node_list())
every_node = pytest.mark.parametrize("node", NODES, ids=lambda node: node.__name__)


def pinned_form(node: type[io.ComfyNode]) -> dict[str, Any]:
    """What of a node's schema must not change."""
    schema = node.GET_SCHEMA()
    return {
        "inputs": [described(schema.node_id, entry) for entry in schema.inputs],
        "outputs": [
            {"name": output.display_name, "type": output.get_io_type(), "list": output.is_output_list}
            for output in schema.outputs
        ],
        "is_output_node": schema.is_output_node,
    }


def described(node_id: str, entry: io.Input) -> dict[str, Any]:
    form = {"name": entry.id, "type": entry.get_io_type(), "optional": entry.optional}
    if is_widget(entry):
        form["default"] = entry.default
    if isinstance(entry, io.Int.Input | io.Float.Input):
        form |= {"min": entry.min, "max": entry.max}
    if isinstance(entry, io.Int.Input):
        form["control_after_generate"] = bool(entry.control_after_generate)
    if isinstance(entry, io.Combo.Input) and (node_id, entry.id) not in VARYING:
        form["options"] = list(entry.options)
    return form


def is_widget(entry: io.Input) -> bool:
    return isinstance(
        entry, io.Combo.Input | io.Int.Input | io.Float.Input | io.String.Input | io.Boolean.Input
    )


def test_schemas_are_as_pinned() -> None:
    forms = {node.GET_SCHEMA().node_id: pinned_form(node) for node in NODES}
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    assert forms.keys() == pinned.keys(), json.dumps(forms, indent=2)
    for node_id, form in forms.items():
        assert form == pinned[node_id], json.dumps(forms, indent=2)


@every_node
def test_schema_is_valid(node: type[io.ComfyNode]) -> None:
    node.VALIDATE_CLASS()
    schema = node.GET_SCHEMA()
    schema.validate()
    assert schema.node_id == node.__name__
    assert schema.node_id.startswith("Janus")
    assert schema.category == "Janus"
    assert schema.display_name
    assert schema.description
    assert json.dumps(node.GET_NODE_INFO_V1())


@every_node
def test_every_input_has_a_tooltip_that_ends_as_a_sentence(node: type[io.ComfyNode]) -> None:
    for entry in node.define_schema().inputs:
        assert (entry.tooltip or "").endswith("."), entry.id


@every_node
def test_every_output_has_a_display_name(node: type[io.ComfyNode]) -> None:
    names = [output.display_name for output in node.define_schema().outputs]
    assert all(names)
    assert len(set(names)) == len(names)


@every_node
def test_every_output_has_a_tooltip_that_ends_as_a_sentence(node: type[io.ComfyNode]) -> None:
    for output in node.define_schema().outputs:
        assert (output.tooltip or "").endswith("."), output.display_name


@every_node
def test_defaults_lie_within_their_limits(node: type[io.ComfyNode]) -> None:
    for entry in node.define_schema().inputs:
        if isinstance(entry, io.Int.Input | io.Float.Input):
            assert entry.min <= entry.default <= entry.max, entry.id
        if isinstance(entry, io.Combo.Input) and entry.default is not None:
            assert entry.default in entry.options, entry.id


@every_node
def test_tooltips_of_numbers_that_may_be_zero_say_what_zero_means(node: type[io.ComfyNode]) -> None:
    for entry in node.define_schema().inputs:
        if isinstance(entry, io.Int.Input | io.Float.Input) and entry.min == 0 and entry.id != "seed":
            assert "0" in entry.tooltip, entry.id


@every_node
def test_execute_is_short_and_takes_every_input(node: type[io.ComfyNode]) -> None:
    tree = ast.parse(Path(inspect.getfile(node)).read_text(encoding="utf-8"))
    classes = {item.name: item for item in tree.body if isinstance(item, ast.ClassDef)}
    (execute,) = (item for item in classes[node.__name__].body if getattr(item, "name", "") == "execute")
    statements = [node for node in ast.walk(execute) if isinstance(node, ast.stmt)]
    assert len(statements) - 1 <= MAX_EXECUTE_STATEMENTS  # without the definition itself
    signature = inspect.signature(node.execute)
    signature.bind(**{entry.id: None for entry in node.define_schema().inputs})


@every_node
def test_comfyui_leaves_combos_with_renamed_values_to_the_node(node: type[io.ComfyNode]) -> None:
    # ComfyUI checks a combo's value itself unless `validate_inputs` has an argument of the input's name.
    arguments = inspect.getfullargspec(node.validate_inputs).args
    for entry in node.define_schema().inputs:
        if isinstance(entry, io.Combo.Input) and set(entry.options) & set(RENAMED.values()):
            assert entry.id in arguments


def test_checkpoint_combo_follows_the_folder(janus_folder: Path) -> None:
    (load,) = (node for node in NODES if node.__name__ == "JanusLoad")
    before = load.define_schema().inputs[0].options
    copy_checkpoint("janus-pro-tiny", janus_folder / "mine")
    assert load.define_schema().inputs[0].options == ["mine", *before]
