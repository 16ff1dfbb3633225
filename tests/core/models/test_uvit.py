"""The U-ViT: the reference's time embedding, features and velocities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from janus_nodes.janus_core import FlowSampling, JanusPipeline, load_pipeline
from janus_nodes.janus_core.config import UViTConfig
from janus_nodes.janus_core.models.flow_generation import FlowGeneration
from janus_nodes.janus_core.models.uvit import GlobalResponseNorm, UViTDecoder, UViTEncoder, time_waves

pytestmark = pytest.mark.usefixtures("no_grad")
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture
def ends(flow_pipe: JanusPipeline) -> FlowGeneration:
    """The golden model's way of drawing."""
    return flow_pipe.model.generation


def test_time_equals_the_reference(flow_recorded: Any, ends: FlowGeneration) -> None:
    timestep = flow_recorded.tensor("time/timesteps") / 1000
    waves = time_waves(timestep, ends.config.encoder.block_out_channels)
    torch.testing.assert_close(waves, flow_recorded.tensor("time/time_proj"), **CLOSE)
    embeds = ends.encoder.time_embed(timestep, torch.float32)
    torch.testing.assert_close(embeds, flow_recorded.tensor("time/time_embed"), **CLOSE)


@pytest.mark.parametrize("step", [0, 1])
def test_both_ends_equal_the_reference(flow_recorded: Any, ends: FlowGeneration, step: int) -> None:
    def recorded(name: str) -> torch.Tensor:
        return flow_recorded.tensor(f"imagegen/cfg2.step{step}.{name}")

    latents = flow_recorded.tensor("imagegen/z0" if step == 0 else "imagegen/cfg2.step0.z_after")
    timestep = recorded("t")[:2] / 1000
    inputs_embeds, skip, time_embeds = ends.embed_latents(latents, timestep)
    torch.testing.assert_close(time_waves(timestep[:1], 32), recorded("time_proj"), **CLOSE)
    torch.testing.assert_close(time_embeds[:1], recorded("t_emb"), **CLOSE)
    torch.testing.assert_close(inputs_embeds[:, 0], time_embeds, **CLOSE)
    torch.testing.assert_close(skip[:1], recorded("enc_out"), **CLOSE)
    torch.testing.assert_close(inputs_embeds[:1, 1:], recorded("z_emb"), **CLOSE)

    hidden = recorded("llm_hidden")
    features = ends.decoder_aligner(ends.decoder_norm(hidden))
    features = features.transpose(1, 2).unflatten(2, skip.shape[2:])
    torch.testing.assert_close(features, recorded("dec_in"), **CLOSE)
    # Both recorded rows are of the first image; the position of time is not looked at.
    hidden = torch.cat((torch.full_like(hidden[:, :1], torch.nan), hidden), dim=1)
    velocity = ends.velocity(hidden, skip[:1].repeat(2, 1, 1, 1), time_embeds[:1].repeat(2, 1))
    torch.testing.assert_close(velocity[0], recorded("v_cond")[0], **CLOSE)
    torch.testing.assert_close(velocity[1], recorded("v_uncond")[0], **CLOSE)


def waves(*shape: int) -> torch.Tensor:
    """Numbers in [-1, 1] without a pattern that a permutation of them would keep."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float32) * 0.37 + count).sin().view(shape)


@pytest.mark.parametrize(
    ("patch_size", "expected"),
    [
        (4, [[-2.0604, -1.9290, -0.5520, -0.3718], [-1.3735, -0.7538, 1.3843, 2.5616]]),
        (8, [[2.1755, 2.3605, 3.2316, 2.4123], [0.4984, 0.5322, 1.9168, 2.2710]]),
    ],
)
def test_larger_patches_equal_the_reference(patch_size: int, expected: list[list[float]]) -> None:
    """Recorded from the reference with kernel and stride `patch_size`, and 2 and 3 upsamples."""
    config = UViTConfig(4, 4, patch_size, layers_in_middle=2, hidden_size=6, norm_eps=1e-6)
    encoder, decoder = UViTEncoder(config), UViTDecoder(config)
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        parameter.copy_(waves(*parameter.shape))
    skip, time_embeds = encoder(waves(1, 4, 16, 16), torch.tensor([0.3]))
    velocity = decoder(waves(*skip.shape), skip, time_embeds)
    assert velocity.shape == (1, 4, 16, 16)
    found = torch.stack((velocity[0, :, 5, 10], velocity[0, :, 14, 3]))
    torch.testing.assert_close(found, torch.tensor(expected), **CLOSE)


def test_neighbouring_times_differ_in_bf16_models(ends: FlowGeneration) -> None:
    # The published run rounds times to bf16, in which these two are one.
    timestep = torch.tensor([0.9, 0.901])
    first, second = time_waves(timestep, 32)
    assert float((first - second).abs().max()) > 0.1


def test_response_norm_does_not_overflow_in_fp16() -> None:
    norm = GlobalResponseNorm(8).half()
    norm.weight.data.fill_(1.0)
    features = torch.full((1, 24, 24, 8), 300.0, dtype=torch.float16)
    torch.testing.assert_close(norm(features), torch.full_like(features, 600.0))


def test_float64_models_compute_in_float64(flow_pipe: JanusPipeline) -> None:
    norm = GlobalResponseNorm(8).double()
    norm.weight.data.fill_(1.0)
    features = torch.randn(1, 3, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    norms = features.square().sum(dim=(1, 2), keepdim=True).sqrt()
    expected = (norms / (norms.mean(dim=-1, keepdim=True) + 1e-6) + 1) * features
    torch.testing.assert_close(norm(features), expected, rtol=0, atol=1e-12)
    wide = load_pipeline(flow_pipe.folder, dtype=torch.float64)
    options = FlowSampling(num_steps=3)
    found, single = (pipe.generate("A cat", options, pixels=False).latents for pipe in (wide, flow_pipe))
    torch.testing.assert_close(found, single, rtol=0, atol=1e-4)
