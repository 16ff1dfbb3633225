"""Janus Edit: the same results as the core, and an effect of each widget."""

from __future__ import annotations

from typing import Any

import comfy.model_management as mm
import pytest
import torch
from comfy_api.latest import io
from janus_nodes.janus_core import EditSampling, JanusPipeline
from janus_nodes.nodes.edit import JanusEdit
from janus_nodes.nodes.memory import LoadedJanus
from torch import Tensor

MASKED = {
    "instruction": "A red ball.",
    "form": "janus-pro-r1",
    "seed": 9,
    "batch_size": 2,
    "guidance_scale": 1.0,
    "candidates": 1,
    "strength": 0.4,
    "temperature": 0.0,
    "top_k": 1,
    "top_p": 0.01,
}
# A tiny model of random weights is nearly sure of its tokens; these let it vary.
VARIED = {"guidance_scale": 1.5, "temperature": 3.0, "seed": 11, "candidates": 6}


@pytest.fixture
def image() -> Tensor:
    """One picture, higher than wide."""
    return torch.rand(1, 90, 60, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> Tensor:
    """Its middle."""
    mask = torch.zeros(1, 90, 60)
    mask[:, 30:60, 10:40] = 1
    return mask


def edit(**inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Runs the node as ComfyUI does, widgets that are not given at their defaults."""
    entries = JanusEdit.define_schema().inputs
    defaults = {entry.id: entry.default for entry in entries if isinstance(entry, io.WidgetInput)}
    output = JanusEdit.PREPARE_CLASS_CLONE({}).EXECUTE_NORMALIZED(**defaults | inputs)
    return output.args


def shown_texts(**inputs: Any) -> list[str]:
    """The texts that a run shows on the node."""
    entries = JanusEdit.define_schema().inputs
    defaults = {entry.id: entry.default for entry in entries if isinstance(entry, io.WidgetInput)}
    return list(JanusEdit.PREPARE_CLASS_CLONE({}).EXECUTE_NORMALIZED(**defaults | inputs).ui["text"])


def test_every_widget_is_tried() -> None:
    entries = JanusEdit.define_schema().inputs
    widgets = {entry.id for entry in entries if isinstance(entry, io.WidgetInput)}
    assert widgets == MASKED.keys() | {"source_scale"}


@pytest.mark.parametrize("widget", MASKED)
def test_widget_changes_the_picture(loaded: LoadedJanus, image: Tensor, mask: Tensor, widget: str) -> None:
    base = {"model": loaded, "image": image, "mask": mask, **VARIED}
    before = edit(**base)[1]
    assert torch.equal(edit(**base)[1], before)
    if widget == "form":
        del base["mask"]  # which goes with one form only
    after = edit(**base | {widget: MASKED[widget]})[1]
    assert after.shape != before.shape or not torch.equal(after, before)


def test_source_scale_changes_the_picture_where_a_row_lacks_the_source(
    loaded: LoadedJanus, image: Tensor
) -> None:
    base = {"model": loaded, "image": image, "form": "janus-4o"}
    assert not torch.equal(edit(**base, source_scale=0.0)[1], edit(**base)[1])


def test_results_are_the_core_s(
    loaded: LoadedJanus, core: JanusPipeline, image: Tensor, mask: Tensor
) -> None:
    masked = {"instruction": "A red ball.", "mask": mask}
    told = {"instruction": "Make it night.", "form": "janus-4o"}
    for inputs in (masked, told):
        images, tokens, changed = edit(model=loaded, image=image, seed=3, batch_size=2, **inputs)
        expected = core.edit(image, options=EditSampling(seed=3, batch_size=2), **inputs)
        assert torch.equal(images, expected.images)
        assert torch.equal(tokens, expected.tokens)
        assert torch.equal(changed, expected.changed)
        assert {result.device.type for result in (images, tokens, changed)} == {"cpu"}
    assert images.shape == (2, 64, 64, 3)


def test_a_batch_of_images_is_edited_image_by_image(loaded: LoadedJanus, image: Tensor, mask: Tensor) -> None:
    images = torch.cat((image, 1 - image))
    masks = torch.cat((mask, mask.flip(1)))
    for inputs, each in (({"mask": masks}, masks), ({"mask": mask}, mask.expand(2, -1, -1))):
        _, tokens, changed = edit(model=loaded, image=images, seed=3, **inputs)
        alone = [edit(model=loaded, image=images[i : i + 1], seed=3 + i, mask=each[i]) for i in range(2)]
        assert torch.equal(tokens, torch.cat([single[1] for single in alone]))
        assert torch.equal(changed, torch.cat([single[2] for single in alone]))
    _, tokens, _ = edit(model=loaded, image=images, seed=3, form="janus-4o", batch_size=2)
    alone = [edit(model=loaded, image=images[i // 2][None], seed=3 + i, form="janus-4o") for i in range(4)]
    assert torch.equal(tokens, torch.cat([single[1] for single in alone]))


def test_the_node_shows_that_an_empty_mask_was_ignored_or_refuses_it(
    loaded: LoadedJanus, image: Tensor
) -> None:
    empty = torch.zeros(1, 64, 64)  # as Load Image gives it
    told = {"image": image, "form": "janus-4o", "seed": 3}
    assert torch.equal(edit(model=loaded, **told, mask=empty)[1], edit(model=loaded, **told)[1])
    assert shown_texts(model=loaded, **told, mask=empty) == [
        "The mask is empty and was ignored: the whole image is edited by instruction."
    ]
    assert shown_texts(model=loaded, **told) == []
    with pytest.raises(ValueError, match=r"mask must select what to redraw, got an empty one .64 x 64"):
        edit(model=loaded, image=image, mask=empty)
    assert shown_texts(model=loaded, image=image, mask=1 - empty, strength=0.0) == [
        "Nothing has changed: strength is 0."
    ]


def test_an_unknown_form_is_refused(loaded: LoadedJanus, image: Tensor) -> None:
    with pytest.raises(ValueError, match="form must be one of auto, janus-4o, janus-pro-r1, mask, got 'x'; "):
        edit(model=loaded, image=image, form="x")


def test_previews_grow_and_the_last_is_the_whole_picture(
    loaded: LoadedJanus, image: Tensor, mask: Tensor, shown: list[tuple[int, int, Any]]
) -> None:
    edit(model=loaded, image=image, mask=mask)
    values = [value for value, _, _ in shown]
    assert values == sorted(values)
    pictures = [preview[1] for _, _, preview in shown if preview is not None]
    assert len(pictures) >= 2
    assert pictures[0].size == (64, 64)
    assert pictures[-1].size == (60, 90)


def test_interrupt_stops_at_the_next_step(
    loaded: LoadedJanus, image: Tensor, mask: Tensor, no_interrupt: None
) -> None:
    passes: list[int] = []

    def interrupt(*_: Any) -> None:
        passes.append(1)
        mm.interrupt_current_processing()

    hook = loaded.pipeline.model.body.register_forward_hook(interrupt)
    with pytest.raises(mm.InterruptProcessingException):
        edit(model=loaded, image=image, mask=mask)
    hook.remove()
    assert len(passes) == 1
