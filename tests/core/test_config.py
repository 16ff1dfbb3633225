"""Configs reject sizes that cannot be built, or that do not fit together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from janus_nodes.janus_core.config import (
    FlowGenerationConfig,
    LlamaConfig,
    ProjectorConfig,
    SiglipConfig,
    TokenHeadConfig,
    UViTConfig,
    VAEConfig,
    VQConfig,
)
from support.checkpoints import small_config

CONFIG = small_config()
PARTS: dict[type, Any] = {
    SiglipConfig: CONFIG.understanding.vision,
    ProjectorConfig: CONFIG.understanding.aligner,
    LlamaConfig: CONFIG.body,
    VQConfig: CONFIG.generation.vq,
    TokenHeadConfig: CONFIG.generation.head,
}
ENDING = "the config.json does not describe a model that this version can build"


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (
            SiglipConfig,
            {"num_attention_heads": 5},
            r"vision width \(hidden_size\) must be a multiple of its 5 heads .*, got 28",
        ),
        (SiglipConfig, {"image_size": 3}, "image_size must be at least patch_size 6, got 3"),
        (ProjectorConfig, {"depth": 2.0}, r"ProjectorConfig\.depth must be int, got 2\.0"),
        (LlamaConfig, {"rope_theta": True}, r"LlamaConfig\.rope_theta must be float, got True"),
        (VQConfig, {"encoder_ch_mult": (1, 2.0, 1)}, r"must be tuple\[int, \.\.\.\], got \(1, 2"),
        (ProjectorConfig, {"depth": 0}, r"ProjectorConfig\.depth must be positive, got 0"),
        (LlamaConfig, {"num_key_value_heads": 2}, "must be a multiple of num_key_value_heads 2, got 5"),
        (LlamaConfig, {"head_dim": 7}, "head_dim must be even for rotary positions, got 7"),
        (LlamaConfig, {"rms_norm_eps": -1e-6}, r"LlamaConfig\.rms_norm_eps must be positive, got -1e-06"),
        (
            VQConfig,
            {"decoder_ch_mult": (1, 1)},
            r"have the same length, got \(1, 2, 1\) and \(1, 1\)",
        ),
        (
            VQConfig,
            {"encoder_ch_mult": (), "decoder_ch_mult": ()},
            r"must hold at least one value, got \(\)",
        ),
        (VQConfig, {"encoder_ch_mult": (1, 0, 1)}, r"VQConfig\.encoder_ch_mult must be positive"),
        (
            VQConfig,
            {"num_groups": 7},
            "multiples of the 7 normalisation groups .*, got ch .* 16 times",
        ),
        (TokenHeadConfig, {"codebook_size": -5}, r"TokenHeadConfig\.codebook_size must be positive, got -5"),
    ],
)
def test_configs_reject_sizes_that_cannot_be_built(part: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*{ENDING}"):
        replace(PARTS[part], **change)


def test_parts_that_do_not_fit_together_are_rejected() -> None:
    with pytest.raises(
        ValueError, match=r"aligner_config\.n_embed must be the language model's hidden_size 90"
    ):
        replace(CONFIG, body=replace(CONFIG.body, hidden_size=90))
    aligner = replace(CONFIG.generation.aligner, hidden_size=90)
    with pytest.raises(ValueError, match=r"hidden_size 80, got 90 and 80"):
        replace(CONFIG, generation=replace(CONFIG.generation, aligner=aligner))
    vision = replace(CONFIG.understanding.vision, hidden_size=32)
    with pytest.raises(ValueError, match=r"input_dim must be the vision tower's width 32, got 28"):
        replace(CONFIG.understanding, vision=vision)
    with pytest.raises(ValueError, match="must be a multiple of the tokenizer's 4 pixels per token, got 26"):
        replace(CONFIG.generation, image_size=26)
    head = replace(CONFIG.generation.head, codebook_size=78)
    with pytest.raises(ValueError, match="image_token_size must be the codebook's size 77, got 78"):
        replace(CONFIG.generation, head=head)


UVIT = UViTConfig(4, 32, patch_size=2, layers_in_middle=2, hidden_size=80, norm_eps=1e-6)
FLOW = FlowGenerationConfig(UVIT, UVIT, hidden_size=80, rms_norm_eps=1e-6, image_size=64)
VAE = VAEConfig(block_out_channels=(32, 32, 32, 32), layers_per_block=1, latent_channels=4)


def test_a_patch_of_latents_is_reached_by_doubling() -> None:
    for size in (1, 3, 6):
        with pytest.raises(ValueError, match=f"patch_size must be a power of 2 from 2, got {size}; "):
            replace(UVIT, patch_size=size)
    assert [replace(UVIT, patch_size=size).upsamples for size in (2, 4, 8)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 8}, "channels of vision_gen_dec_config must be the encoder's 4, got 8"),
        (
            {"block_out_channels": 16},
            "block_out_channels of vision_gen_dec_config must be the encoder's 32",
        ),
        ({"patch_size": 4}, "patch_size of vision_gen_dec_config must be the encoder's 2, got 4"),
        ({"hidden_size": 90}, "vision_gen_dec_config.hidden_size must be the language model's hidden_size"),
    ],
)
def test_flow_encoder_and_decoder_must_fit_together(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*{ENDING}"):
        replace(FLOW, decoder=replace(UVIT, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_channels": 16}, "vae must have 4 latent_channels, got 16"),
        (
            {"block_out_channels": (32, 32, 32)},
            "must have block_out_channels for 8 pixels per latent, got 4",
        ),
        # Stable Diffusion 1.5's VAE has the sizes of SDXL's, and other latents.
        ({"scaling_factor": 0.18215}, "vae must have the scaling_factor 0.13025 .*, got 0.18215"),
    ],
)
def test_a_vae_with_other_latents_is_rejected(change: dict[str, Any], message: str) -> None:
    assert replace(FLOW, vae=VAE).scaling_factor == FLOW.scaling_factor
    with pytest.raises(ValueError, match=f"{message}; use the VAE of SDXL"):
        replace(FLOW, vae=replace(VAE, **change))


def test_derived_sizes_follow_the_given_ones() -> None:
    assert CONFIG.understanding.vision.num_positions == 16
    assert CONFIG.generation.vq.downsample_factor == 4
    assert (CONFIG.generation.grid_size, CONFIG.generation.num_tokens) == (6, 36)
