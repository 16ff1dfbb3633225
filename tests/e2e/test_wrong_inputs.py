"""Wrong inputs on the server: one clear message on the node at fault, and the server keeps working."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TextSampling
from support.checkpoints import (
    copy_checkpoint,
    edit_tensors,
    single_file_checkpoint,
    small_config,
    write_checkpoint,
)
from torch import Tensor

from dev.comfyui.client import ComfyClient, PromptRejectedError
from dev.comfyui.graph import Graph, Link
from dev.comfyui.server import ComfyServer


def assert_fails(client: ComfyClient, graph: Graph, node: Link, message: str) -> None:
    """Runs a prompt that must fail at a node with one message that matches from its start to its end."""
    result = client.run(graph.nodes)
    assert result.status == "error"
    (error,) = result.errors
    assert error.node_id == node[0], error.message
    assert re.fullmatch(message, error.message.strip(), re.DOTALL), error.message


def assert_checkpoint_fails(
    client: ComfyClient, graph: Graph, checkpoint: str, message: str, **widgets: object
) -> None:
    """The same for a checkpoint that cannot be loaded; newer servers refuse unknown names themselves."""
    model = graph.load(checkpoint, **widgets)
    graph.add("JanusUnderstand", model=model, question="Who?", max_new_tokens=4)
    try:
        assert_fails(client, graph, model, message)
    except PromptRejectedError as error:
        assert list(error.body["node_errors"]) == [model[0]]


@pytest.fixture(autouse=True)
def server_keeps_working(client: ComfyClient, graph: Graph, pipe: JanusPipeline) -> object:
    """After each test the server answers as before."""
    yield
    after = Graph(graph.object_info)
    answer = after.add("JanusUnderstand", model=after.load(), question="Still there?", max_new_tokens=6)
    result = client.run(after.nodes).check()
    assert result.texts(answer[0]) == pipe.understand(None, "Still there?", TextSampling(max_new_tokens=6))


@pytest.fixture(scope="module")
def small(server: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint with a codebook of 77 ids, 4x4 tokens as `janus-pro-tiny`, and a context of 90 tokens."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    write_checkpoint(folder, small_config(max_position_embeddings=90, image_size=16), seed=5)
    server.add_model(folder)
    return "small"


@pytest.mark.parametrize(
    "name", ["nowhere", "../janus-pro-tiny", "/etc", "..\\secret", "janus-pro-tiny/../x", ""]
)
def test_unknown_checkpoint_is_refused(client: ComfyClient, graph: Graph, name: str) -> None:
    message = (
        r"checkpoint must be one of those in models/janus \(.*janus-pro-tiny.*\) or a built-in one, got "
        r".*; choose one of .*"
    )
    assert_checkpoint_fails(client, graph, name, message)


def test_checkpoint_outside_the_folder_is_not_reached(
    client: ComfyClient, graph: Graph, server: ComfyServer
) -> None:
    copy_checkpoint("janus-pro-tiny", server.base / "models" / "outside")
    assert_checkpoint_fails(client, graph, "../outside", "checkpoint must be one of .*")


def test_absent_release_says_how_to_get_it(client: ComfyClient, graph: Graph) -> None:
    message = r"checkpoint 'Janus-Pro-1B' must be in models/janus, got none there; turn on download .*"
    assert_checkpoint_fails(client, graph, "Janus-Pro-1B", message)


def test_download_of_another_name_is_refused(client: ComfyClient, graph: Graph) -> None:
    message = (
        "download must be off for checkpoints other than Janus-Pro-1B.*, got 'janus-pro-tiny'; turn it off.*"
    )
    assert_checkpoint_fails(client, graph, "janus-pro-tiny", message, download=True)


def test_download_without_a_network_says_so(client: ComfyClient, graph: Graph, server: ComfyServer) -> None:
    message = (
        r"Janus-Pro-7B must be downloadable from huggingface\.co/deepseek-ai/Janus-Pro-7B, got: .*run again.*"
    )
    assert_checkpoint_fails(client, graph, "Janus-Pro-7B", message, download=True)
    assert not (server.base / "models" / "janus" / "Janus-Pro-7B").exists()


def test_incomplete_folder_names_what_is_missing(
    client: ComfyClient, graph: Graph, server: ComfyServer, tmp_path: Path
) -> None:
    folder = copy_checkpoint("janus-pro-tiny", tmp_path / "incomplete")
    (folder / "model-00002-of-00002.safetensors").unlink()
    (folder / "tokenizer.json").unlink()
    server.add_model(folder)
    assert "incomplete" in str(client.object_info()["JanusLoad"]["input"]["required"]["checkpoint"])
    message = r".*incomplete must hold a whole checkpoint, got none of these: tokenizer\.json, model-00002.*"
    assert_checkpoint_fails(client, graph, "incomplete", message)


def test_truncated_and_nan_weights_are_named(
    client: ComfyClient, graph: Graph, server: ComfyServer, tmp_path: Path
) -> None:
    truncated = single_file_checkpoint(tmp_path / "truncated") / "model.safetensors"
    truncated.write_bytes(truncated.read_bytes()[:-1000])
    server.add_model(truncated.parent)
    assert_checkpoint_fails(client, graph, "truncated", r".*model\.safetensors must be .*; download it again")

    broken = edit_tensors(
        single_file_checkpoint(tmp_path / "broken"),
        lambda tensors: tensors["language_model.model.norm.weight"].fill_(torch.nan),
    )
    server.add_model(broken)
    message = r".*must hold finite weights, got NaN or infinity in language_model\.model\.norm\.weight.*"
    assert_checkpoint_fails(client, Graph(graph.object_info), "broken", message)


@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_empty_texts_are_refused(client: ComfyClient, graph: Graph, prompt: str) -> None:
    model = graph.load()
    drawn = graph.add("JanusGenerate", model=model, prompt=prompt)
    graph.save(drawn)
    assert_fails(client, graph, drawn, "prompt must hold text, got .*; describe the image to draw")
    asked = Graph(graph.object_info)
    answer = asked.add("JanusUnderstand", model=asked.load(), question=prompt)
    assert_fails(client, asked, answer, "question must hold text, got .*; ask something about the image")


def test_image_and_features_together_are_refused(
    client: ComfyClient, graph: Graph, photographs: dict[str, Tensor]
) -> None:
    model, image = graph.load(), graph.add("LoadImage", image="coffee.png")
    features = graph.add("JanusSiglipEncode", model=model, image=image)
    answer = graph.add("JanusUnderstand", model=model, image=image, features=features)
    message = "only one of image and features must be connected, got both; disconnect one of them"
    assert_fails(client, graph, answer, message)


@pytest.mark.parametrize(("count", "placed"), [(1, 2), (2, 1), (0, 1)])
def test_wrong_number_of_placeholders_is_refused(
    client: ComfyClient, graph: Graph, photographs: dict[str, Tensor], count: int, placed: int
) -> None:
    inputs = {}
    if count:
        image = graph.add("LoadImage", image="coffee.png")
        inputs["image"] = graph.batch(image, image) if count == 2 else image
    answer = graph.add(
        "JanusUnderstand",
        model=graph.load(),
        question="Compare " + "<image_placeholder>" * placed,
        batch="one question about all images",
        **inputs,
    )
    message = rf"question must hold one <image_placeholder> per image .*, got {placed} for {count} images; .*"
    assert_fails(client, graph, answer, message)


def test_tokens_of_another_model_are_refused(
    client: ComfyClient, graph: Graph, small: str, photographs: dict[str, Tensor]
) -> None:
    image = graph.add("LoadImage", image="astronaut.png")
    tokens = graph.add("JanusVQEncode", model=graph.load(), image=image)
    decoded = graph.add("JanusVQDecode", model=graph.load(small), tokens=tokens)
    graph.save(decoded)
    message = "tokens must be whole numbers from 0 to 76, .*, got .*; encode the image with this model"
    assert_fails(client, graph, decoded, message)


def test_features_of_another_model_are_refused(
    client: ComfyClient, graph: Graph, small: str, photographs: dict[str, Tensor]
) -> None:
    image = graph.add("LoadImage", image="astronaut.png")
    features = graph.add("JanusSiglipEncode", model=graph.load(), image=image)
    answer = graph.add("JanusUnderstand", model=graph.load(small), features=features)
    assert_fails(client, graph, answer, "features must be .*")


def test_too_long_texts_are_refused(client: ComfyClient, graph: Graph, small: str) -> None:
    model = graph.load(small)
    answer = graph.add("JanusUnderstand", model=model, question="Who? " * 100)
    message = (
        "prompt must leave room in the model's context of 90 tokens, got .*; shorten it or pass fewer images"
    )
    assert_fails(client, graph, answer, message)
    drawing = Graph(graph.object_info)
    drawn = drawing.add("JanusGenerate", model=drawing.load(small), prompt="A lake. " * 100)
    drawing.save(drawn)
    assert_fails(client, drawing, drawn, message)


def test_widgets_out_of_their_range_are_rejected_before_the_run(client: ComfyClient, graph: Graph) -> None:
    drawn = graph.add("JanusGenerate", model=graph.load(), prompt="A lake.", batch_size=0, top_p=1.5)
    graph.save(drawn)
    with pytest.raises(PromptRejectedError) as rejected:
        client.run(graph.nodes)
    assert {
        error["extra_info"]["input_name"] for error in rejected.value.body["node_errors"][drawn[0]]["errors"]
    } == {
        "batch_size",
        "top_p",
    }
