"""What nodes show on the canvas during and after a run, in a browser, with both front ends."""

from __future__ import annotations

import re

import pytest
from support.workflows import read

from dev.browser.canvas import Canvas
from dev.comfyui.workflow import nodes_of, set_checkpoint

pytestmark = pytest.mark.usefixtures("nothing_is_wrong")


@pytest.mark.both_renderings
def test_answer_streams_onto_the_node_stays_and_can_be_copied(canvas: Canvas) -> None:
    workflow = set_checkpoint(read("Caption an image"), "janus-pro-tiny")
    canvas.open(workflow)
    (node,) = nodes_of(workflow, {"JanusUnderstand"})
    canvas.set_widget(int(node), "max_new_tokens", 300)
    assert canvas.run() == "execution_success"
    answer = canvas.texts()[node]
    streamed = canvas.page.evaluate("() => janus.texts")
    assert any(0 < len(text) < len(answer) for text in streamed)
    lines = answer.replace("\r\n", "\n").replace("\r", "\n")  # as text fields have them
    field = canvas.result_field(int(node))
    field.click()
    canvas.page.keyboard.type("x")  # read-only
    assert field.input_value() == lines
    canvas.page.keyboard.press("Control+a")
    canvas.page.keyboard.press("Control+c")
    assert canvas.page.evaluate("() => getSelection().toString()") == lines
    saved = [value for each in canvas.saved()["nodes"] for value in each.get("widgets_values") or ()]
    assert answer not in saved
    # Undoing a change creates the nodes again; their texts are restored.
    canvas.change_and_undo()
    assert canvas.texts()[node] == answer
    # Running the unchanged workflow shows the cached text again.
    canvas.page.evaluate("id => { app.graph.getNodeById(id).widgets.at(-1).value = '' }", int(node))
    assert canvas.texts()[node] == ""
    assert canvas.run() == "execution_success"
    assert canvas.texts()[node] == answer


@pytest.mark.both_renderings
def test_notes_on_a_cut_answer_and_an_edit_without_effect_are_shown(canvas: Canvas) -> None:
    workflow = set_checkpoint(read("Caption an image"), "janus-pro-tiny")
    (node,) = nodes_of(workflow, {"JanusUnderstand"})
    canvas.open(workflow)
    canvas.set_widget(int(node), "max_new_tokens", 5)
    assert canvas.run() == "execution_success"
    note = "[stopped at max_new_tokens = 5, or at the end of the model's context]"
    assert canvas.texts()[node].endswith(f"\n{note}")
    workflow = read("Edit part of an image")
    (node,) = nodes_of(workflow, {"JanusEdit"})
    canvas.open(workflow)
    assert node not in canvas.texts()
    canvas.set_widget(int(node), "strength", 0)
    assert canvas.run() == "execution_success"
    assert canvas.texts()[node] == "Nothing has changed: strength is 0."


def test_thought_streams_before_the_image_and_the_load_node_says_what_it_took(canvas: Canvas) -> None:
    workflow = set_checkpoint(read("T2I-R1 - think and draw"), "janus-pro-tiny")
    (node,), (load,) = nodes_of(workflow, {"JanusThinkAndDraw"}), nodes_of(workflow, {"JanusLoad"})
    canvas.open(workflow)
    assert load not in canvas.texts()
    canvas.set_widget(int(load), "precision", "fp32")  # other than in tests before, whose model is cached
    for widget, value in {"max_new_tokens": 150, "thought_seed": 1, "rounds": 1, "form": "describe"}.items():
        canvas.set_widget(int(node), widget, value)
    canvas.set_widget(int(node), "thought_temperature", 2)
    canvas.queue()
    shown = "id => app.graph.getNodeById(id).widgets.find(w => w.name === 'result')?.value"
    first = canvas.page.wait_for_function(shown, arg=int(node)).json_value()
    assert canvas.wait_for_end() == "execution_success"
    text = canvas.texts()[node]
    assert 0 < len(first) < len(text)
    assert "[P(Yes) 0." in text and text.endswith("was cut off before its end; raise max_new_tokens.")
    assert canvas.page.evaluate("id => app.nodeOutputs[id].images.length", node) == 1
    assert canvas.texts()[load].startswith("Chat roles: <|User|> / <|Assistant|>, ")
    assert canvas.clashes() == []
    canvas.set_widget(int(node), "rounds", 2)
    canvas.set_widget(int(node), "form", "got-r1")
    assert canvas.run() == "execution_error"
    canvas.details_of_error()
    canvas.page.wait_for_selector("text=rounds must be 0 or 1 for form 'got-r1'")
    assert canvas.is_red(int(node))
    canvas.dismiss()


@pytest.mark.all_views
def test_empty_field_is_high_enough_and_says_what_it_is_for(canvas: Canvas) -> None:
    canvas.open({"nodes": [], "links": [], "last_node_id": 0, "last_link_id": 0, "version": 0.4})
    canvas.page.evaluate("""() => {
      const node = LiteGraph.createNode("JanusUnderstand");
      node.pos = [100, 100];
      app.graph.add(node) }""")
    (node,) = canvas.texts()
    field = canvas.result_field(int(node))
    assert field.get_attribute("placeholder") == "Shown here once the node has run."
    box = field.bounding_box()
    assert box is not None
    assert box["height"] >= 100


@pytest.mark.all_views
@pytest.mark.parametrize("count", [1, 2])
def test_finished_images_take_the_place_of_the_preview(canvas: Canvas, count: int) -> None:
    canvas.open(read("Generate an image from text"))
    canvas.set_widget(2, "batch_size", count)
    assert canvas.run() == "execution_success"
    canvas.show_all()
    canvas.shows_images(2, count)


def test_passes_are_counted_above_the_node_while_it_draws(canvas: Canvas) -> None:
    canvas.open(read("Generate an image from text"))
    canvas.set_widget(2, "batch_size", 8)
    usual = canvas.page.evaluate("() => janus.badges(2)")
    canvas.queue()
    counted = "usual => janus.badges(2).length > usual.length && janus.badges(2).at(-1)"
    text = canvas.page.wait_for_function(counted, arg=usual, polling=20).json_value()
    assert re.fullmatch(r"\d+ tokens, \d+ passes", text)
    assert canvas.wait_for_end() == "execution_success"
    assert canvas.page.evaluate("() => janus.badges(2)") == usual


@pytest.mark.both_renderings
def test_answers_survive_a_reload_and_reopening(canvas: Canvas) -> None:
    workflow = set_checkpoint(read("Caption an image"), "janus-pro-tiny")
    (node,) = nodes_of(workflow, {"JanusUnderstand"})
    canvas.open(workflow)
    assert canvas.run() == "execution_success"
    answer, saved = canvas.texts()[node], canvas.saved()
    assert answer.strip()
    canvas.reload()
    canvas.page.wait_for_function("id => app.graph.getNodeById(id)", arg=int(node))  # the draft is open
    canvas.page.wait_for_function(
        "([id, text]) => janus.widget(id, 'result').value === text", arg=[int(node), answer]
    )
    canvas.open({**workflow, "id": "5d0f4a4e-4f4e-4a55-8e2b-0c8b8e1a3c11"})  # another workflow
    assert canvas.texts()[node] == ""
    canvas.open(saved)
    assert canvas.texts()[node] == answer


@pytest.mark.both_renderings
def test_text_stays_with_the_workflow_that_was_run(canvas: Canvas) -> None:
    workflow = set_checkpoint(read("Caption an image"), "janus-pro-tiny")
    (node,) = nodes_of(workflow, {"JanusUnderstand"})
    canvas.open(workflow)
    canvas.set_widget(int(node), "max_new_tokens", 1000)
    canvas.set_widget(int(node), "repetition_penalty", 0.5)  # words repeat, so the answer does not end
    canvas.queue()
    canvas.page.wait_for_function("() => janus.texts.length")
    canvas.open(workflow)  # another tab, whose nodes have the same ids
    assert canvas.wait_for_end() == "execution_success"
    assert canvas.texts()[node] == ""
    canvas.change_and_undo()
    assert canvas.texts()[node] == ""
    canvas.command("Workspace.PreviousOpenedWorkflow")
    canvas.settle()
    assert canvas.widget(int(node), "max_new_tokens") == 1000
    assert canvas.texts()[node]


def test_words_are_chinese_where_the_front_end_is(canvas: Canvas) -> None:
    canvas.configure("Comfy.Locale", "zh")
    try:
        field = canvas.page.evaluate("""() => {
          const { label, element } = LiteGraph.createNode("JanusUnderstand").widgets.at(-1);
          return [label, element.placeholder] }""")
        assert field == ["结果", "节点运行后，结果显示在这里。"]
    finally:
        canvas.configure("Comfy.Locale", "en")
        canvas.dismiss()  # the front end shows a message that it has reloaded the node texts
