"""SDXL's VAE: the reference's latents and pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, TokenSampling

pytestmark = pytest.mark.usefixtures("no_grad")


def test_encoding_equals_the_reference(flow_recorded: Any, flow_pipe: JanusPipeline) -> None:
    pixels = flow_recorded.tensor("vae/encode.input")
    mean, log_variance = flow_pipe.model.generation.vae.moments(pixels)
    torch.testing.assert_close(mean, flow_recorded.tensor("vae/encode.mean"), rtol=0, atol=1e-4)
    expected = flow_recorded.tensor("vae/encode.logvar")
    torch.testing.assert_close(log_variance, expected, rtol=0, atol=1e-4)


def test_decoding_equals_the_reference(flow_recorded: Any, flow_pipe: JanusPipeline) -> None:
    pixels = flow_pipe.model.generation.vae.decode(flow_recorded.tensor("vae/decode.input"))
    torch.testing.assert_close(pixels, flow_recorded.tensor("vae/decode.sample"), rtol=0, atol=1e-4)


def test_the_flow_sees_latents_times_the_scaling_factor(flow_recorded: Any, flow_pipe: JanusPipeline) -> None:
    pixels = flow_recorded.tensor("vae/encode.input")
    expected = flow_recorded.tensor("vae/encode.mean") * 0.13025
    torch.testing.assert_close(flow_pipe.model.generation.encode(pixels), expected, rtol=0, atol=1e-4)
    images = (pixels.permute(0, 2, 3, 1) + 1) / 2
    torch.testing.assert_close(flow_pipe.encode_latents(images), expected, rtol=0, atol=1e-2)


def test_latents_are_not_tokens(flow_pipe: JanusPipeline, pipe: JanusPipeline) -> None:
    images = torch.zeros(1, 8, 8, 3)
    expected = "got 'janusflow-tiny', which generates them by flow; use FlowSampling"
    with pytest.raises(ValueError, match=expected):
        flow_pipe.encode_tokens(images)
    with pytest.raises(ValueError, match=expected):
        flow_pipe.decode_tokens(torch.zeros(1, 16, dtype=torch.long))
    with pytest.raises(ValueError, match="got 'janus-pro-tiny', which generates them token by token"):
        pipe.encode_latents(images)
    assert isinstance(pipe.image_options(), TokenSampling)
