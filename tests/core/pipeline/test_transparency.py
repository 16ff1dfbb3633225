"""Images with alpha, in everything that a pipeline does with images: composed on the grey of the padding.

Reported of other packages: kohya-ss/sd-scripts #1269 and MieMieeeee/ComfyUI-CaptionThis #5.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, TextSampling
from janus_nodes.janus_core.processing.images import GREY, compose_on
from torch import Tensor

TASKS: dict[str, Callable[[JanusPipeline, Tensor], Tensor]] = {
    "encode_vision": lambda pipe, images: pipe.encode_vision(images).image_embeds,
    "encode_tokens": lambda pipe, images: pipe.encode_tokens(images),
    "score": lambda pipe, images: pipe.score(images, "a circle"),
    "choose": lambda pipe, images: pipe.choose(images, "Which?", ["one", "two"]),
    "edit as Janus-4o": lambda pipe, images: (
        pipe.edit(images[0], "x", EditSampling(), form="janus-4o").tokens
    ),
    "edit as Janus-Pro-R1": lambda pipe, images: (
        pipe.edit(images[0], "x", EditSampling(), form="janus-pro-r1").tokens
    ),
}


@pytest.fixture
def cut_outs() -> Tensor:
    """Two images [2, 20, 33, 4] in noise, half of it hidden."""
    images = torch.rand(2, 20, 33, 4, generator=torch.Generator().manual_seed(9))
    images[:, :, 16:, 3] = 0
    return images


@pytest.mark.parametrize("task", TASKS)
def test_alpha_is_composed(pipe: JanusPipeline, cut_outs: Tensor, task: str) -> None:
    found = TASKS[task](pipe, cut_outs)
    assert torch.equal(found, TASKS[task](pipe, compose_on(cut_outs, GREY)))
    if found.is_floating_point():
        assert not torch.equal(found, TASKS[task](pipe, cut_outs[..., :3]))


def test_answers_are_those_about_what_is_visible(pipe: JanusPipeline, cut_outs: Tensor) -> None:
    sampling = TextSampling(max_new_tokens=4)
    seen = pipe.understand(compose_on(cut_outs, GREY), "What is it?", sampling)
    assert pipe.understand(cut_outs, "What is it?", sampling) == seen
