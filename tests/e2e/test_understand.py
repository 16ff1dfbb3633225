"""Understand on the server answers as the core does, for one image, batches, lists and features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling
from torch import Tensor

from dev.comfyui.client import ComfyClient, RunResult
from dev.comfyui.graph import Graph, Link

QUESTION = "What can be seen here?"
SAMPLING = {"max_new_tokens": 16, "temperature": 0.8, "seed": 7}
TOGETHER = "one question about all images"


def ask(graph: Graph, question: str = QUESTION, **inputs: Any) -> Link:
    """Adds Understand."""
    return graph.add("JanusUnderstand", question=question, **{**SAMPLING, **inputs})


def expected(pipe: JanusPipeline, images: object, question: str = QUESTION, **options: Any) -> list[str]:
    """The core's answers."""
    return pipe.understand(images, question, TextSampling(**{**SAMPLING, **options}))


def run(client: ComfyClient, graph: Graph) -> RunResult:
    return client.run(graph.nodes).check()


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_answer_about_a_photograph_equals_the_core(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor], name: str
) -> None:
    image = graph.add("LoadImage", image=f"{name}.png")
    answer = ask(graph, model=graph.load(), image=image)
    assert run(client, graph).texts(answer[0]) == expected(pipe, photographs[name])


def test_greedy_answer_with_another_system_prompt_equals_the_core(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    image = graph.add("LoadImage", image="coffee.png")
    knobs: dict[str, Any] = {"temperature": 0.0, "repetition_penalty": 1.3}
    answer = ask(graph, model=graph.load(), image=image, system_prompt="Be short.", **knobs)
    assert run(client, graph).texts(answer[0]) == pipe.understand(
        photographs["coffee"], QUESTION, TextSampling(**{**SAMPLING, **knobs}), system_prompt="Be short."
    )


def test_question_without_an_image_is_answered(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    answer = ask(graph, model=graph.load(), top_k=5, top_p=0.9, min_p=0.01)
    assert run(client, graph).texts(answer[0]) == expected(pipe, None, top_k=5, top_p=0.9, min_p=0.01)


def test_batch_gives_a_list_of_answers_each_equal_to_the_single_one(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    images = graph.add("LoadImage", image="astronaut.png")
    for name in ("coffee", "chelsea"):
        images = graph.batch(images, graph.add("LoadImage", image=f"{name}.png"))
    model = graph.load()
    shown = graph.show(ask(graph, model=model, image=images))
    singles = [
        ask(
            graph,
            model=model,
            image=graph.add("ImageFromBatch", image=images, batch_index=index, length=1),
            seed=SAMPLING["seed"] + index,
        )
        for index in range(3)
    ]
    result = run(client, graph)
    answers = result.texts(shown[0])
    assert len(set(answers)) == 3
    assert answers[0] == expected(pipe, photographs["astronaut"])[0]
    for answer, single in zip(answers, singles, strict=True):
        assert result.texts(single[0]) == [answer]


def test_several_images_in_one_question(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    images = graph.batch(
        *(graph.add("LoadImage", image=f"{name}.png") for name in ("astronaut", "astronaut"))
    )
    question = "Compare <image_placeholder> with <image_placeholder>."
    model = graph.load()
    placed = ask(graph, question, model=model, image=images, batch=TOGETHER)
    before = ask(graph, model=model, image=images, batch=TOGETHER)
    result = run(client, graph)
    both = [photographs["astronaut"]] * 2
    assert result.texts(placed[0]) == expected(pipe, both, question)
    assert result.texts(before[0]) == expected(pipe, both)


def test_one_encoding_serves_many_questions(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    model = graph.load()
    image = graph.add("LoadImage", image="chelsea.png")
    features = graph.add("JanusSiglipEncode", model=model, image=image)
    questions = ("Who?", "Where?", "When?")
    answers = [ask(graph, question, model=model, features=features) for question in questions]
    result = run(client, graph)
    for question, answer in zip(questions, answers, strict=True):
        assert result.texts(answer[0]) == expected(pipe, photographs["chelsea"], question)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16000, 10), (10, 3000), (385, 383)])
def test_images_of_odd_sizes_are_answered_as_by_the_core(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, width: int, height: int
) -> None:
    image = graph.add("EmptyImage", width=width, height=height, batch_size=1, color=0x3366CC)
    answer = ask(graph, model=graph.load(), image=image)
    colour = torch.tensor([0x33, 0x66, 0xCC]) / 255
    assert run(client, graph).texts(answer[0]) == expected(pipe, colour.expand(1, height, width, 3))


def test_image_with_alpha_is_answered_as_what_is_visible(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    image = graph.add("LoadImage", image="coffee.png")
    mask = graph.add("SolidMask", value=0.5, width=600, height=400)
    both = graph.add("JoinImageWithAlpha", image=image, alpha=mask)
    answer = ask(graph, model=graph.load(), image=both)
    visible = torch.lerp(torch.tensor(127 / 255), photographs["coffee"], 0.5)  # on the model's own grey
    assert run(client, graph).texts(answer[0]) == expected(pipe, visible)


def test_three_turns_chain_and_only_the_first_node_encodes_the_image(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    model = graph.load()
    first = ask(graph, model=model, image=graph.add("LoadImage", image="coffee.png"))
    second = ask(graph, "Which colour is it?", model=model, conversation=[first[0], 1])
    more = graph.add("LoadImage", image="chelsea.png")
    third = ask(graph, "And this?", model=model, conversation=[second[0], 1], image=more)
    afresh = ask(
        graph, "Which colour is it?", model=model, conversation=[second[0], 1],
        history="start over, keep the images",
    )  # fmt: skip
    result = run(client, graph)
    options = TextSampling(**SAMPLING)
    said = pipe.chat(QUESTION, photographs["coffee"], options=options)
    assert result.texts(first[0]) == [said.answer]
    said = pipe.chat("Which colour is it?", None, said, options)
    assert result.texts(second[0]) == [said.answer]
    assert result.texts(third[0]) == [pipe.chat("And this?", photographs["chelsea"], said, options).answer]
    assert result.texts(afresh[0]) == expected(pipe, photographs["coffee"], "Which colour is it?")


def test_each_conversation_of_a_batch_continues(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline, photographs: dict[str, Tensor]
) -> None:
    model = graph.load()
    names = ("astronaut", "coffee")
    images = graph.batch(*(graph.add("LoadImage", image=f"{name}.png") for name in names))
    first = ask(graph, model=model, image=images, temperature=0.0)
    second = ask(graph, "Why?", model=model, conversation=[first[0], 1], temperature=0.0)
    shown = graph.show(second)
    result = run(client, graph)
    options = TextSampling(**{**SAMPLING, "temperature": 0.0})
    said = pipe.chat(QUESTION, photographs["astronaut"], options=options)
    answers = result.texts(shown[0])
    assert len(answers) == 2
    assert answers[0] == pipe.chat("Why?", None, said, options).answer


def test_text_arrives_on_the_node_while_it_runs(
    client: ComfyClient, graph: Graph, photographs: dict[str, Tensor]
) -> None:
    image = graph.add("LoadImage", image="coffee.png")
    # A penalty below 1 makes words repeat: the answer takes some time.
    answer = ask(graph, model=graph.load(), image=image, max_new_tokens=1500, repetition_penalty=0.5)
    result = run(client, graph)
    (text,) = result.texts(answer[0])
    events = result.events
    ends = next(i for i, e in enumerate(events) if e.type == "executed" and e.data["node"] == answer[0])
    streamed = [
        e.data["text"] for e in events[:ends] if e.type == "janus.text" and e.data["node"] == answer[0]
    ]
    assert len(streamed) >= 3
    assert len(streamed[0]) < len(streamed[-1])
    assert text.startswith(streamed[-1].rstrip("\ufffd"))
    assert any(event.type.startswith("progress") and "max" in str(event.data) for event in events[:ends])
