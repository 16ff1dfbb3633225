"""The vision tower and its projector: the reference's activations, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline
from janus_nodes.janus_core.config import SiglipConfig
from janus_nodes.janus_core.models.siglip import SiglipVisionTower
from torch import Tensor, nn


def outputs_of(module: nn.Module, kept: list[Tensor]) -> Any:
    """Notes what a module returns, in `kept`."""
    return module.register_forward_hook(lambda *call: kept.append(call[2]))


def test_every_block_equals_the_reference(recorded: Any, pipe: JanusPipeline) -> None:
    tower = pipe.model.understanding.tower
    kept: list[Tensor] = []
    hooks = [outputs_of(module, kept) for module in (tower.patch_embed, *tower.blocks)]
    pixel_values = recorded.tensor("understand/one_image.pixel_values")[0]
    with torch.no_grad():
        features, embeds = pipe.model.understanding(pixel_values)
    for hook in hooks:
        hook.remove()
    names = ["patch_embed", *(f"block{index}" for index in range(len(tower.blocks)))]
    assert not recorded.has(f"understand/one_image.siglip.block{len(tower.blocks)}")
    kept[0] = kept[0].flatten(2).transpose(1, 2)
    for name, output in zip(names, kept, strict=True):
        expected = recorded.tensor(f"understand/one_image.siglip.{name}")
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)
    expected = recorded.tensor("understand/one_image.vision_out")
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4)
    expected = recorded.tensor("understand/one_image.aligner_out")
    torch.testing.assert_close(embeds, expected, rtol=0, atol=1e-4)


def test_pictures_give_the_recorded_pixels_and_features(
    recorded: Any, pipe: JanusPipeline, picture: Callable[[str], Tensor]
) -> None:
    (name,) = recorded.images("one_image")
    pixel_values = pipe.image_processor.pixel_values([picture(name)])
    assert torch.equal(pixel_values, recorded.tensor("understand/one_image.pixel_values")[0])
    features = pipe.encode_vision(picture(name)[None])
    expected = recorded.tensor("understand/one_image.vision_out")
    torch.testing.assert_close(features.last_hidden_state, expected, rtol=0, atol=1e-4)
    expected = recorded.tensor("understand/one_image.aligner_out")
    torch.testing.assert_close(features.image_embeds, expected, rtol=0, atol=1e-4)


def test_images_of_a_batch_do_not_disturb_each_other(pipe: JanusPipeline) -> None:
    pixel_values = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        together = pipe.model.understanding.tower(pixel_values)
        alone = torch.cat([pipe.model.understanding.tower(row) for row in pixel_values.split(1)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_pixels_are_taken_in_any_dtype(dtype: torch.dtype) -> None:
    tower = SiglipVisionTower(SiglipConfig(12, 1, 2, 24, 8, 4)).to(dtype)
    assert tower(torch.zeros(1, 3, 8, 8)).dtype == dtype
