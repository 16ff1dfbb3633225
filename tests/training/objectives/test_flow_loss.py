"""The velocity in training is that of inference, and alignment trains a projector that is dropped."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from janus_nodes.janus_core import JanusPipeline, load_pipeline
from janus_nodes.janus_core.models.flow_generation import FlowGeneration
from janus_nodes.janus_core.sampling.flow import VelocityField
from janus_nodes.janus_core.sampling.image_sampler import IMAGE_SAMPLERS
from janus_nodes.janus_core.training.objectives.flow_loss import FlowLoss, logit_normal_times
from janus_nodes.janus_core.training.pictures import image_latents, to_images
from janus_nodes.janus_core.training.recipe import Stage
from janus_nodes.janus_core.training.sequences import generation_sequence
from torch import Tensor

CAPTIONS = ("A red ball.", "Two blue cups on a table, beside a small green box.", "A dog.")
STAGE = Stage("x", "unified", (), 1, 3, 1e-3, shares=(0, 0, 1))


@pytest.fixture
def flow(golden_root: Path) -> JanusPipeline:
    """A small model that draws by flow."""
    return load_pipeline(golden_root / "janusflow-tiny", dtype=torch.float32)


def pictures(flow: JanusPipeline) -> list[Tensor]:
    side = flow.model.config.generation.image_size
    rng = np.random.default_rng(0)
    return to_images([rng.integers(0, 256, (side, side, 3)).astype(np.uint8) for _ in CAPTIONS])


@torch.no_grad()
@pytest.mark.parametrize("dropped", [False, True])
def test_training_and_inference_compute_the_same_velocity(
    dropped: bool, flow: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(flow)
    calls: list[tuple[Tensor, Tensor]] = []
    velocities: list[Tensor] = []
    embed_latents, velocity = FlowGeneration.embed_latents, FlowGeneration.velocity

    def embed(self: FlowGeneration, latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        calls.append((latents, timestep))
        return embed_latents(self, latents, timestep)

    def recorded(self: FlowGeneration, *inputs: Tensor) -> Tensor:
        velocities.append(velocity(self, *inputs))
        return velocities[-1]

    sequences = [generation_sequence(flow, caption, dropped) for caption in CAPTIONS]
    with monkeypatch.context() as patch:
        patch.setattr(FlowGeneration, "embed_latents", embed)
        patch.setattr(FlowGeneration, "velocity", recorded)
        loss, _ = FlowLoss(flow, STAGE).losses(sequences, images, random.Random(3))
    ((noisy, times),), (trained,) = calls, velocities
    order = sorted(range(3), key=lambda index: len(sequences[index].ids))
    style = IMAGE_SAMPLERS[FlowGeneration].prompt_style
    for row, index in enumerate(order):
        prompt = flow.prompts.generation(CAPTIONS[index], "", use_cfg=dropped, num_new=99, style=style)
        field = VelocityField(flow.model, prompt, 0.0 if dropped else 1.0, 1)
        expected = field(noisy[row : row + 1], float(times[row]))
        torch.testing.assert_close(trained[row], expected[0], rtol=0, atol=2e-5)

    # The noisy latents lie on the line between the clean ones and some noise, whose difference is the target.
    clean = image_latents(flow, images)[order]
    share = times[:, None, None, None]
    noise = (noisy - share * clean) / (1 - share)
    expected_loss = (trained - (clean - noise)).square().mean()
    torch.testing.assert_close(loss, expected_loss, rtol=1e-3, atol=0)


@torch.no_grad()
def test_an_image_and_its_caption_are_read_once_for_all_its_draws(
    flow: JanusPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(flow)
    sequences = [generation_sequence(flow, text, False, copies=2) for text in CAPTIONS]
    encoded: list[int] = []
    encode = FlowGeneration.encode

    def counted(self: FlowGeneration, pixels: Tensor) -> Tensor:
        encoded.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(FlowGeneration, "encode", counted)
    loss, _ = FlowLoss(flow, replace(STAGE, draws=2)).losses(sequences, images, random.Random(3))
    assert encoded == [3]
    alone = [generation_sequence(flow, text, False) for text in CAPTIONS for _ in range(2)]
    doubled = [part for part in images for _ in range(2)]
    expected, _ = FlowLoss(flow, STAGE).losses(alone, doubled, random.Random(3))
    torch.testing.assert_close(loss, expected)
    with pytest.raises(
        ValueError,
        match=r"draws must be a whole number of 1 or more, got 0; 1 is one version per image",
    ):
        replace(STAGE, draws=0)


def test_times_cover_the_logit_normal_distribution_evenly() -> None:
    normal = torch.distributions.Normal(-0.5, 1.0)
    times = logit_normal_times(64, -0.5, torch.Generator().manual_seed(0))
    ranks = normal.cdf(torch.logit(times)) * 64
    assert ranks.floor().long().sort().values.tolist() == list(range(64))
    assert times.tolist() != times.sort().values.tolist()


def test_alignment_trains_its_projector_and_the_blocks_below(flow: JanusPipeline) -> None:
    stage = Stage("x", "unified", (), 1, 3, 1e-3, shares=(0, 0, 1), alignment=1.0)
    objective = FlowLoss(flow, stage)
    sequences = [generation_sequence(flow, caption, drop_caption=False) for caption in CAPTIONS]
    model = flow.model.requires_grad_(True)
    loss, named = objective.losses(sequences, pictures(flow), random.Random(3))
    torch.testing.assert_close(loss, named["generation"] - named["aligned"])
    named["aligned"].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())
    reached = [layer.mlp.down_proj.weight.grad is not None for layer in model.body.layers]
    assert reached == [index <= objective.aligned for index in range(len(reached))]
    assert model.understanding.tower.patch_embed.weight.grad is None


def test_alignment_averages_the_features_of_what_a_position_shows(flow: JanusPipeline) -> None:
    grid, loss = torch.arange(16.0).view(1, 4, 4), FlowLoss(flow, STAGE)
    features, config = grid.flatten(1)[..., None], flow.model.generation.config
    for side, expected in ((4, grid), (2, torch.tensor([[[2.5, 4.5], [10.5, 12.5]]]))):
        uvit = replace(config.encoder, patch_size=config.latent_shape[1] // side)
        flow.model.generation.config = replace(config, encoder=uvit, decoder=uvit)
        assert torch.equal(loss._per_position(features), expected.flatten(1)[..., None])
