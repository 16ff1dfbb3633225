"""Models of the released sizes with random weights: our checkpoints, and the model of transformers."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from janus_core.checkpoints.layouts import FLOW, ORIGINAL, detect_layout
from janus_core.checkpoints.save import save_model
from janus_core.config import TokenGenerationConfig
from janus_core.models.janus import Janus

from ..comfyui.launch import tolerate_cuda_builds

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "tests" / "golden" / "real_configs"
FLOWS = ("JanusFlow-1.3B",)
_COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")


def write_checkpoint(name: str, folder: Path) -> None:
    """Writes a bf16 checkpoint with the sizes of a released model; for JanusFlow without a VAE."""
    raw = json.loads((CONFIGS / f"{name}.config.json").read_text(encoding="utf-8"))
    flows = name in FLOWS
    with torch.device("meta"):
        config = (FLOW if flows else ORIGINAL).read_config(raw)
        model = Janus(config).to(torch.bfloat16).requires_grad_(False)
    fill_randomly(model, "cpu")
    save_model(model, folder, max_shard_bytes=10**12)
    companions = ROOT / "tests" / "golden" / ("janusflow-tiny" if flows else "janus-pro-tiny")
    for file in _COMPANIONS:
        shutil.copyfile(companions / file, folder / file)


def fill_randomly(model: nn.Module, device: str) -> None:
    """Fills a meta-device model: normally distributed weights (standard deviation 0.02), norms of 1.

    All weights repeat one block of random numbers: billions of them would take longer than the benchmark.
    """
    model.to_empty(device=device)
    for buffer in model.buffers():
        buffer.zero_()
    for name, parameter in model.named_parameters():
        fill_parameter(name, parameter)


def fill_parameter(name: str, parameter: torch.Tensor) -> None:
    """Fills one weight as `fill_randomly` does."""
    if parameter.ndim == 1:
        parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        return
    block = _noise().to(parameter.device, parameter.dtype)
    for part in parameter.view(-1).split(len(block)):
        part.copy_(block[: len(part)])


@cache
def _noise() -> torch.Tensor:
    return torch.randn(2**22, generator=torch.Generator().manual_seed(0)) * 0.02


def peer_model(folder: Path, dtype: torch.dtype, device: str) -> Any:
    """Makes the Janus model of transformers with the sizes of one of our checkpoints."""
    tolerate_cuda_builds()  # its classes import torchvision
    from transformers import (
        JanusConfig,
        JanusForConditionalGeneration,
        JanusVisionConfig,
        JanusVQVAEConfig,
        LlamaConfig,
    )

    _, ours = detect_layout(folder)
    assert isinstance(ours.generation, TokenGenerationConfig)
    body, vision, vq = ours.body, ours.understanding.vision, ours.generation.vq
    width = body.hidden_size
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=body.vocab_size,
            hidden_size=width,
            intermediate_size=body.intermediate_size,
            num_hidden_layers=body.num_hidden_layers,
            num_attention_heads=body.num_attention_heads,
            num_key_value_heads=body.num_key_value_heads,
            head_dim=body.head_dim,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=vision.hidden_size,
            num_hidden_layers=1,  # not used when an image is generated
            num_attention_heads=vision.num_attention_heads,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            projection_dim=width,
            num_image_tokens=vision.num_positions,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=vq.codebook_dim,
            num_embeddings=vq.codebook_size,
            projection_dim=width,
            image_token_embed_dim=width,
        ),
    )
    with torch.device("meta"):
        model: Any = JanusForConditionalGeneration(config)
        model = model.to(dtype).requires_grad_(False).eval()
    fill_randomly(model, device)
    model.generation_config.generation_kwargs = {"boi_token_id": 3}
    return model
