"""Convolutional blocks: sizes, and the padding they were trained with."""

from __future__ import annotations

import pytest
import torch
from janus_nodes.janus_core.models.conv_blocks import AttnBlock, Downsample, ResnetBlock, Upsample
from support.checkpoints import randomize

pytestmark = pytest.mark.usefixtures("no_grad")


def test_downsampling_pads_right_and_below_only() -> None:
    block = Downsample(1)
    block.conv.weight.fill_(1.0)
    block.conv.bias.zero_()  # type: ignore[union-attr]
    assert block(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]


def test_upsampling_doubles_both_sides() -> None:
    assert Upsample(2)(torch.zeros(1, 2, 3, 5)).shape == (1, 2, 6, 10)


def test_attention_of_a_position_sees_the_whole_map() -> None:
    block = AttnBlock(8, 4)
    randomize(block)
    features = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[0, :, 3, 3] += torch.linspace(-1, 1, 8)
    difference = (block(changed) - block(features)).abs().amax(dim=1)
    assert float(difference[0, 0, 0]) > 0


@pytest.mark.parametrize("channels", [(8, 8), (8, 16)])
def test_only_a_change_of_width_takes_a_convolution_in_the_shortcut(channels: tuple[int, int]) -> None:
    block = ResnetBlock(*channels, num_groups=4)
    assert (len(list(block.nin_shortcut.parameters())) > 0) is (channels[0] != channels[1])
    assert block(torch.zeros(1, channels[0], 4, 4)).shape == (1, channels[1], 4, 4)
