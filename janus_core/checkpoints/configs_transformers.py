"""The transformers layout's config.json to `JanusConfig`."""

from __future__ import annotations

from ..config import (
    JanusConfig,
    ProjectorConfig,
    SiglipConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from .configs import Json, llama_config

# Sizes that transformers' JanusConfig assumes where a file is silent.
_VISION_DEFAULTS = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "mlp_ratio": 4.0,
    "image_size": 384,
    "patch_size": 16,
    "projection_dim": 2048,
    "depth": 2,
    "layer_norm_eps": 1e-6,
}
_VQ_DEFAULTS = {
    "embed_dim": 8,
    "num_embeddings": 16384,
    "latent_channels": 256,
    "base_channels": 128,
    "channel_multiplier": [1, 1, 2, 2, 4],
    "num_res_blocks": 2,
    "projection_dim": 2048,
    "num_hidden_layers": 2,
    "image_token_embed_dim": 2048,
}


def from_transformers(config: Json) -> JanusConfig:
    """Reads the transformers layout's config.json (`model_type: janus`)."""
    vision: Json = _VISION_DEFAULTS | config["vision_config"]
    vq: Json = _VQ_DEFAULTS | config["vq_config"]
    for name, part in (("vision_config", vision), ("vq_config", vq)):
        if part.get("hidden_act", "gelu") != "gelu":
            raise ValueError(
                f"{name}.hidden_act must be 'gelu', got {part['hidden_act']!r}; this version builds no other"
            )
    multipliers = tuple(vq["channel_multiplier"])
    return JanusConfig(
        understanding=UnderstandingConfig(
            vision=SiglipConfig(
                hidden_size=vision["hidden_size"],
                num_hidden_layers=vision["num_hidden_layers"],
                num_attention_heads=vision["num_attention_heads"],
                intermediate_size=int(vision["hidden_size"] * vision["mlp_ratio"]),
                image_size=vision["image_size"],
                patch_size=vision["patch_size"],
                layer_norm_eps=vision["layer_norm_eps"],
            ),
            aligner=ProjectorConfig(vision["hidden_size"], vision["projection_dim"], vision["depth"]),
        ),
        body=llama_config(config["text_config"], config.get("tie_word_embeddings", True)),
        generation=TokenGenerationConfig(
            vq=VQConfig(
                codebook_size=vq["num_embeddings"],
                codebook_dim=vq["embed_dim"],
                ch=vq["base_channels"],
                encoder_ch_mult=multipliers,
                decoder_ch_mult=multipliers,
                num_res_blocks=vq["num_res_blocks"],
                z_channels=vq["latent_channels"],
            ),
            aligner=ProjectorConfig(vq["embed_dim"], vq["projection_dim"], vq["num_hidden_layers"]),
            head=TokenHeadConfig(vq["image_token_embed_dim"], vq["projection_dim"], vq["num_embeddings"]),
            image_size=vision["image_size"],
        ),
    )
