"""What widgets say about themselves in a browser, with both front ends and in both renderings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from dev.browser.canvas import Canvas

pytestmark = pytest.mark.usefixtures("nothing_is_wrong")

ADD = """kinds => {
  app.clean();
  app.graph.clear();
  app.graph.id = crypto.randomUUID(); // front end 1.49 gives new nodes the values of former ones without this
  const load = LiteGraph.createNode("JanusLoad");
  app.graph.add(load);
  let left = 400;
  for (const kind of kinds) {
    const node = LiteGraph.createNode(kind);
    app.graph.add(node);
    node.pos = [left, 0];
    left += node.size[0] + 50;
    load.connect(0, node, 0);
  }
}"""
STATE = """id => Object.fromEntries(app.graph.getNodeById(id).widgets.map(
  widget => [widget.name, [widget.label, widget.value, !!widget.disabled]]))"""
OWN = {"guidance_scale": "1.5", "temperature": "0.7", "top_k": "0", "top_p": "0.8"}
NODE = 2


@pytest.fixture(params=["classic", "Nodes 2.0"])
def rendered(request: pytest.FixtureRequest, canvas: Canvas) -> Iterator[Canvas]:
    """The canvas in one of its two renderings."""
    canvas.configure("Comfy.VueNodes.Enabled", request.param == "Nodes 2.0")
    yield canvas
    canvas.configure("Comfy.VueNodes.Enabled", False)


def add(canvas: Canvas, *kinds: str) -> None:
    """Puts Load Janus-Pro, with the demonstration, and new nodes of these kinds on an empty canvas."""
    canvas.page.evaluate(ADD, list(kinds))
    canvas.set_widget(1, "checkpoint", "Janus-Shapes (built-in demonstration)")
    canvas.settle()


def state(canvas: Canvas) -> dict[str, list[Any]]:
    """Label, value and grey of each widget of the second node."""
    return dict(canvas.page.evaluate(STATE, NODE))


def labels(canvas: Canvas) -> dict[str, str]:
    """Labels of the settings that can be the checkpoint's own."""
    return {name: entry[0] for name, entry in state(canvas).items() if name in OWN}


def test_settings_say_that_they_are_the_checkpoints_own(rendered: Canvas) -> None:
    canvas = rendered
    add(canvas, "JanusGenerate")
    untouched = {name: f"{name} (checkpoint's own)" for name in OWN}
    reported = {name: f"{name} (checkpoint's own: {value})" for name, value in OWN.items()}
    assert labels(canvas) == untouched
    canvas.set_widget(NODE, "control_after_generate", "fixed")
    assert canvas.run() == "execution_success"
    assert labels(canvas) == reported
    canvas.change_and_undo()  # creates the nodes again
    canvas.settle()
    assert labels(canvas) == reported
    # A step from -1 or towards it leads over the values that mean nothing.
    steps = [("guidance_scale", -0.9, 0), ("guidance_scale", -0.1, -1), ("top_p", -0.99, 0.01)]
    for name, value, expected in steps:
        canvas.set_widget(NODE, name, value)
        assert canvas.widget(NODE, name) == expected
    assert labels(canvas) == reported | {"top_p": "top_p"}


def test_settings_of_a_run_are_shown_in_its_own_workflow_only(canvas: Canvas) -> None:
    add(canvas, "JanusGenerate")
    canvas.set_widget(NODE, "batch_size", 4)
    workflow = {**canvas.saved(), "id": "0b0f5f0e-6f0a-4a53-9a53-6a8f3c7b1d01"}
    canvas.open(workflow)
    untouched = labels(canvas)
    canvas.queue()
    canvas.wait_for_progress(NODE)
    canvas.open({**workflow, "id": "0b0f5f0e-6f0a-4a53-9a53-6a8f3c7b1d02"})  # its nodes have the same ids
    assert canvas.wait_for_end() == "execution_success"
    canvas.change_and_undo()
    assert labels(canvas) == untouched
    canvas.open(workflow)
    canvas.settle()
    assert labels(canvas) == {name: f"{name} (checkpoint's own: {value})" for name, value in OWN.items()}


def test_workflow_saved_with_numbers_keeps_them(rendered: Canvas) -> None:
    canvas = rendered
    add(canvas, "JanusGenerate")
    workflow = canvas.saved()
    former = [5.0, 1.0, 0, 1.0]  # the defaults before -1 came
    (node,) = (node for node in workflow["nodes"] if node["type"] == "JanusGenerate")
    assert node["widgets_values"][5:9] == [-1] * 4
    node["widgets_values"][3:9] = ["fixed", 1, *former]
    canvas.open(workflow)
    assert labels(canvas) == {name: name for name in OWN}
    assert canvas.run() == "execution_success"
    (taken,) = canvas.page.evaluate("id => app.nodeOutputs[id].own", NODE)
    assert list(taken.values()) == former
    prompt = canvas.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)")
    inputs = json.loads(prompt)[str(NODE)]["inputs"]
    assert [inputs[name] for name in OWN] == former


def test_widgets_without_effect_are_greyed(rendered: Canvas) -> None:
    canvas = rendered
    add(canvas, "JanusUnderstand")

    def grey() -> set[str]:
        # The front end greys the control of the seed itself, when the seed is drawn.
        found = {name for name, entry in state(canvas).items() if entry[2]}
        return found - {"control_after_generate"}

    greedy = {"seed", "top_k", "top_p", "min_p"}
    assert grey() == greedy | {"history"}
    canvas.set_widget(NODE, "task", "short caption")
    assert grey() == greedy | {"history", "question"}
    canvas.set_widget(NODE, "temperature", 0.7)
    assert grey() == {"history", "question"}
    canvas.page.evaluate("() => janus.remember()")
    canvas.change_and_undo()
    canvas.settle()
    assert grey() == {"history", "question"}
    canvas.set_widget(NODE, "task", "ask the question below")
    canvas.set_widget(NODE, "temperature", 0)
    canvas.set_widget(NODE, "answer_format", "JSON")  # draws again with another temperature
    assert grey() == {"history"}


def test_a_link_from_a_model_offers_generate_and_understand_first(canvas: Canvas) -> None:
    offered = canvas.page.evaluate("() => LiteGraph.slot_types_default_out.JANUS_PIPELINE")
    ours = [name for name in offered if name.startswith("Janus")]
    assert ours[:4] == ["JanusGenerate", "JanusUnderstand", "JanusEdit", "JanusAsk"]
