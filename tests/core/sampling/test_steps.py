"""Progress callbacks: which may decode images while others are drawn, so that memory is reserved for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import EditSampling, JanusPipeline, TokenSampling, best_of
from janus_nodes.janus_core.pipeline import drawing, editing, inpainting
from janus_nodes.janus_core.sampling.steps import ignore_step, may_preview
from torch import Tensor

PICTURE, MASK = torch.full((1, 20, 20, 3), 0.5), torch.ones(20, 20)
ONE = EditSampling(candidates=1)


class Counting:
    """An `OnStep` that says whether it shows previews."""

    def __init__(self, previews: bool) -> None:
        self.previews = previews

    def __call__(self, step: int, total: int, state: Tensor) -> None:
        """Does nothing."""


RUNS: dict[str, Callable[[JanusPipeline, Any], Any]] = {
    "generate": lambda pipe, on_step: pipe.generate("A cat.", on_step=on_step),
    "best_of": lambda pipe, on_step: best_of(pipe, "A cat.", TokenSampling(batch_size=2), on_step=on_step),
    "edit": lambda pipe, on_step: pipe.edit(PICTURE, "A cat.", ONE, on_step=on_step),
    "inpaint": lambda pipe, on_step: pipe.edit(PICTURE, "A cat.", ONE, mask=MASK, on_step=on_step),
}


def test_any_callback_may_decode_images_unless_it_says_otherwise() -> None:
    assert may_preview(lambda step, total, state: None)
    assert may_preview(Counting(previews=True))
    assert not may_preview(Counting(previews=False))
    assert not may_preview(ignore_step)


@pytest.mark.parametrize("run", RUNS)
def test_memory_for_previews_is_reserved_only_if_there_may_be_some(
    pipe: JanusPipeline, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    reserved: list[bool] = []
    real = drawing.drawing_bytes

    def spy(*args: Any, **kwargs: Any) -> int:
        reserved.append(inspect.signature(real).bind(*args, **kwargs).arguments["preview"])
        return real(*args, **kwargs)

    for module in (drawing, editing, inpainting):
        monkeypatch.setattr(module, "drawing_bytes", spy)
    editor = replace(pipe, edit_form="janus-4o")
    for previews in (True, False):
        RUNS[run](editor, Counting(previews))
        assert set(reserved) == {previews}
        reserved.clear()
