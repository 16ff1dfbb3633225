"""Wrong arguments of the pipeline: one sentence that names the argument, before anything is computed.

Reported of other packages: cubiq/ComfyUI_IPAdapter_plus #63 and Comfy-Org/ComfyUI #15199.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import (
    Conversation,
    EditSampling,
    FlowSampling,
    JanusPipeline,
    TextSampling,
    TokenSampling,
    Turn,
    best_of,
    reply,
    route,
)
from PIL import Image

IMAGE = torch.full((1, 8, 8, 3), 0.5)
BAD_TEXTS = [None, [], 3, 2.5, b"x", "a \ud800", "a \0", object(), ("a", None)]
# For each text: how to pass it. A list of texts is allowed where there is one text per image.
TEXTS: dict[str, Callable[[JanusPipeline, Any], Any]] = {
    "question": lambda pipe, text: pipe.understand(IMAGE, text),
    "question of chat": lambda pipe, text: pipe.chat(text),
    "question of choose": lambda pipe, text: pipe.choose(IMAGE, text, ["a", "b"]),
    "system_prompt": lambda pipe, text: pipe.understand(IMAGE, "What?", system_prompt=text),
    "description": lambda pipe, text: pipe.score(IMAGE, text),
    "template": lambda pipe, text: pipe.score(IMAGE, "a cat", template=text),
    "options": lambda pipe, text: pipe.choose(IMAGE, "Which?", ["a", text]),
    "prompt": lambda pipe, text: pipe.generate(text),
    "prompt of best_of": lambda pipe, text: best_of(pipe, text),
    "negative_prompt": lambda pipe, text: pipe.generate("A cat.", negative_prompt=text),
    "instruction": lambda pipe, text: pipe.edit(IMAGE, text),
    "request": lambda pipe, text: route(pipe, text),
    "request of reply": lambda pipe, text: reply(pipe, text, None, "understand"),
    "answer": lambda pipe, text: pipe.chat("So?", None, Conversation(pipe.folder, "", (Turn("?", 0, text),))),
}


@pytest.fixture
def idle(pipe: JanusPipeline) -> JanusPipeline:
    """The golden checkpoint, which fails if anything is reserved or computed; it may edit."""

    def never(*_: object) -> None:
        raise AssertionError("reserved memory before the arguments were checked")

    return replace(pipe, reserve=never, edit_form="janus-4o")


def refused(name: str, run: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}s? must [^\n]+, got [^\n]+; [^\n]+$"):
        run()


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_no_text_is_named(idle: JanusPipeline, name: str) -> None:
    for value in BAD_TEXTS:
        if name == "system_prompt" and value is None:
            continue  # the models' own
        refused(name.partition(" ")[0], lambda value=value: TEXTS[name](idle, value))


PICTURES = {
    "a picture of numpy": np.zeros((1, 8, 8, 3)),
    "a picture of Pillow": Image.new("RGB", (8, 8)),
    "a list of pictures of Pillow": [Image.new("RGB", (8, 8))],
    "a file name": "picture.png",
    "bytes": b"x",
    "a number": 3,
    "8-bit numbers": torch.zeros(1, 8, 8, 3, dtype=torch.uint8),
    "whole numbers": torch.zeros(1, 8, 8, 3, dtype=torch.int64),
    "8-bit numbers as floats": IMAGE * 510,
    "NaN": IMAGE * torch.nan,
    "the last one NaN": torch.cat([IMAGE] * 9 + [IMAGE * torch.nan]),
    "channels first": torch.zeros(1, 3, 8, 8),
    "no pixels": torch.zeros(1, 0, 8, 3),
    "a dict": {"images": IMAGE},
}


@pytest.mark.parametrize("label", PICTURES)
def test_what_are_no_images_is_named(idle: JanusPipeline, label: str) -> None:
    value = PICTURES[label]
    for run in (
        lambda: idle.understand(value, "What?"),
        lambda: idle.chat("What?", value),
        lambda: idle.understand([IMAGE, value], "What?"),
        lambda: idle.score(value, "a cat"),
        lambda: idle.choose(value, "What?", ["a", "b"]),
        lambda: idle.encode_vision(value),
        lambda: idle.encode_tokens(value),
        lambda: route(idle, "What?", value),
    ):
        refused("image", run)


@pytest.mark.parametrize("value", [None, [[1]], np.zeros((1, 16), np.int64), 3, "tokens", {}])
def test_what_are_no_tokens_is_named(idle: JanusPipeline, value: Any) -> None:
    refused("token", lambda: idle.decode_tokens(value))


@pytest.mark.parametrize("value", [{}, {"seed": 1}, 3, "greedy", TextSampling, FlowSampling])
def test_options_of_another_kind_are_named(idle: JanusPipeline, value: Any) -> None:
    for run in (
        lambda: idle.understand(IMAGE, "What?", value),
        lambda: idle.chat("What?", options=value),
        lambda: idle.generate("A cat.", value),
        lambda: idle.edit(IMAGE, "A cat.", value),
        lambda: best_of(idle, "A cat.", value),
    ):
        refused("option", run)
    refused("option", lambda: idle.understand(IMAGE, "What?", TokenSampling()))


WRONG_OPTIONS = [None, [], "3", b"3", (1,), {}, object(), torch.ones(1, 2)]


@pytest.mark.parametrize("kind", [TextSampling, TokenSampling, EditSampling, FlowSampling])
def test_every_option_refuses_values_of_another_kind(kind: Any) -> None:
    for name in kind.__dataclass_fields__:
        for value in WRONG_OPTIONS[kind.__dataclass_fields__[name].default is None :]:  # may be None
            refused(name, lambda name=name, value=value: kind(**{name: value}))
        for value in (-1, -0.5, float("nan"), 2**200 if name == "seed" else -(2**70)):
            refused(name, lambda name=name, value=value: kind(**{name: value}))


def test_numbers_of_numpy_are_options() -> None:
    options = TokenSampling(np.float32(2.0), np.float64(0.5), np.int64(4), 1, np.uint8(3), np.int8(2))
    assert (options.guidance_scale, options.top_k, options.seed) == (2.0, 4, 3)


@pytest.mark.parametrize("keep", [None, "1", 1.0, [1], -1, 9])
def test_a_number_to_keep_that_is_none_is_named(idle: JanusPipeline, keep: Any) -> None:
    refused("keep", lambda: best_of(idle, "A cat.", TokenSampling(batch_size=4), keep=keep))


@pytest.mark.parametrize("rows", [["a"], [None], [1.5], [True]])
def test_rows_that_are_no_numbers_are_named(idle: JanusPipeline, rows: Any) -> None:
    refused("row", lambda: idle.understand(IMAGE, "What?", rows=rows))


def test_a_check_that_returns_no_text_is_named(pipe: JanusPipeline) -> None:
    for result in (None, {"a": 1}, 3):
        with pytest.raises(ValueError, match=r"^result of check must be text, got .*; return the answer as"):
            pipe.understand(None, "What?", TextSampling(2), check=lambda _, result=result: result)
