"""Several prompts in one run on the server: lists of prompts and of seeds, and what comes out of them.

Asked for in Comfy-Org/ComfyUI #7880, #7734 and #1561.
"""

from __future__ import annotations

import io

import numpy as np
from janus_nodes.janus_core import JanusPipeline, TextSampling, TokenSampling
from PIL import Image

from dev.comfyui.client import ComfyClient
from dev.comfyui.graph import Graph

PROMPTS = ["A cat.", "A dog in the snow.", "A bird"]


def test_each_prompt_of_a_list_is_drawn_with_the_same_seed(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    prompts = graph.add("JanusPromptList", prompts="\n\n".join(PROMPTS))
    drawn = graph.add("JanusGenerate", model=graph.load(), prompt=prompts, seed=5, batch_size=2)
    saved = graph.save(drawn)
    whole = graph.save(graph.add("RebatchImages", images=drawn, batch_size=6))
    result = client.run(graph.nodes).check()
    expected = [
        image
        for prompt in PROMPTS
        for image in pipe.generate(prompt, TokenSampling(seed=5, batch_size=2)).images
    ]
    for node in (saved, whole):
        files = result.images(node[0])
        pictures = [np.asarray(Image.open(io.BytesIO(client.view(file))).convert("RGB")) for file in files]
        assert len(pictures) == len(expected)
        for picture, image in zip(pictures, expected, strict=True):
            assert np.abs(picture - (image * 255).numpy()).max() <= 1


def test_a_list_of_questions_is_answered_one_by_one(
    client: ComfyClient, graph: Graph, pipe: JanusPipeline
) -> None:
    questions = graph.add("JanusPromptList", prompts="\n".join(PROMPTS))
    answer = graph.add("JanusUnderstand", model=graph.load(), question=questions, max_new_tokens=8)
    result = client.run(graph.nodes).check()
    options = TextSampling(max_new_tokens=8)
    assert result.texts(answer[0]) == [pipe.understand(None, each, options)[0] for each in PROMPTS]
