"""The VAE of a checkpoint's folder on the canvas: core's class, the core's results, or a clear error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from janus_nodes.janus_core import load_pipeline, save_checkpoint
from janus_nodes.janus_core.training.shapes.data import ShapesData
from janus_nodes.janus_core.training.shapes.flow_model import write_flow_start
from janus_nodes.nodes.load import JanusLoad
from support.node_runs import run_and_show

from nodes import VAEDecode, VAEEncode


def load(checkpoint: str) -> tuple:
    outputs, _ = run_and_show(JanusLoad, checkpoint=checkpoint, precision="fp32")
    return outputs


@torch.no_grad()
def test_core_encodes_and_decodes_with_the_vae_of_the_folder(janus_folder: Path, tmp_path: Path) -> None:
    write_flow_start(tmp_path / "start", ShapesData(), seed=0)
    pipeline = load_pipeline(tmp_path / "start", dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    for parameter in pipeline.model.generation.vae.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    save_checkpoint(pipeline, janus_folder / "my-JanusFlow")
    model, vae = load("my-JanusFlow")
    image = torch.randint(256, (1, 96, 96, 3), generator=generator) / 255  # the pipeline rounds to bytes
    (latent,) = VAEEncode().encode(vae, image)
    expected = pipeline.encode_latents(image)
    torch.testing.assert_close(latent["samples"] * model.pipeline.latent_scale, expected, rtol=0, atol=1e-4)
    (decoded,) = VAEDecode().decode(vae, latent)
    pixels = pipeline.model.generation.decode(expected)
    torch.testing.assert_close(decoded, (pixels.permute(0, 2, 3, 1) + 1) / 2, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("golden", "reason"),
    [
        ("janus-pro-tiny", r"vae must be one that the checkpoint's folder holds, got none in '.*'; for"),
        ("janusflow-tiny", r"vae must have widths that are multiples .* got \[16, 32, 32, 32\] in '.*'; use"),
    ],
)
def test_using_a_vae_that_there_is_not_says_why(
    golden: str, reason: str, janus_folder: Path, golden_root: Path
) -> None:
    shutil.copytree(golden_root / golden, janus_folder / golden, ignore=shutil.ignore_patterns("goldens"))
    _, vae = load(golden)
    assert not hasattr(vae, "get_ram_usage")  # as ComfyUI asks values that it caches
    with pytest.raises(AttributeError, match=reason):
        VAEDecode().decode(vae, {"samples": torch.zeros(1, 4, 12, 12)})
    assert json.dumps(repr(vae))  # ComfyUI prints the inputs of a node that fails
