"""Every entry of config.json that the reference code reads, by layout, and what comes of it here.

The reference code is deepseek-ai/Janus (`janus/models`, `janus/janusflow/models`), with transformers'
LlamaConfig, and for the other layouts transformers' JanusConfig and diffusers' AutoencoderKL.
"""

from __future__ import annotations

from dataclasses import replace

from janus_nodes.janus_core.checkpoints.layouts import FLOW, ORIGINAL, TRANSFORMERS
from janus_nodes.janus_core.checkpoints.layouts.vae import DIFFUSERS, read_diffusers_config

from .config_parts import CLASS_NAME, METADATA, TRAINING, Entries, Json, llama, read_json, tower, with_prefix


def original() -> Entries:
    """Janus and Janus-Pro."""
    body, vision = llama("language_config"), tower("vision_config")
    projectors = ("aligner_config", "gen_aligner_config")
    followed = {
        **{f"{name}.params.depth": 3 for name in projectors},
        "gen_head_config.params.image_token_embed": 32,
        "language_config.tie_word_embeddings": True,
        # Not the reference's: it has the sizes by `cls`.
        **with_prefix(
            "gen_vision_config.params",
            {
                "ch": 64,
                "ch_mult": [1, 1, 1, 1, 2],
                "encoder_ch_mult": [1, 1, 1, 1, 2],
                "decoder_ch_mult": [1, 1, 1, 1, 2],
                "num_res_blocks": 1,
                "z_channels": 16,
                "num_groups": 16,
            },
        ),
    }
    refused = {
        "vision_config.params.width": 96,
        **{f"{name}.cls": "Linear" for name in projectors},
        **{f"{name}.params.projector_type": "linear" for name in projectors},
        **{f"{name}.params.input_dim": 96 for name in projectors},
        **{f"{name}.params.n_embed": 96 for name in (*projectors, "gen_vision_config", "gen_head_config")},
        "gen_vision_config.cls": "VQ-8",
        "gen_vision_config.params.image_token_size": 256,
        "gen_head_config.cls": "linear_head",
        "gen_head_config.params.image_token_size": 256,
    }
    parts = (*projectors, "gen_vision_config", "gen_head_config")
    without_effect = {
        **METADATA,
        **{f"{name}.model_type": CLASS_NAME for name in parts},
        "model_type": "chooses the layout",
        "tie_word_embeddings": "the reference's whole model has no embeddings to tie",
    }
    return Entries(
        read_json("janus-pro-tiny/config.json"),
        ORIGINAL.read_config,
        ORIGINAL.sections,
        followed | body[0] | vision[0],
        refused | body[1] | vision[1],
        without_effect | body[2] | vision[2],
    )


def flow() -> Entries:
    """JanusFlow."""
    body, vision = llama("language_config"), tower("vision_und_enc_config", width=96)
    ends = ("vision_gen_enc_config", "vision_gen_dec_config")
    followed = {"language_config.tie_word_embeddings": True}
    refused: Json = {"vision_gen_dec_config.params.in_channels": 64}
    without_effect = {"model_type": "chooses the layout", **METADATA}
    for name in ends:
        followed |= with_prefix(
            f"{name}.params", {"layers_in_middle": 3, "norm_eps": 1e-5, "use_bias": False}
        )
        refused |= {f"{name}.cls": "UViT"}
        refused |= with_prefix(
            f"{name}.params",
            {
                "block_out_channels": [64],
                "hidden_size": 128,
                "use_mid_block": False,
                "elementwise_affine": False,
            },
        )
        without_effect |= {f"{name}.model_type": CLASS_NAME, f"{name}.params.dropout": TRAINING}
    refused |= with_prefix(
        "vision_gen_enc_config.params",
        {"input_channels": 8, "stride": 4, "kernel_size": 3, "padding": 1, "elementwize_affine": False},
    )
    refused |= with_prefix("vision_gen_dec_config.params", {"out_channels": 8, "upsamples": 2})
    without_effect["vision_gen_enc_config.params.num_extra_tensors"] = "the reference does not read it"
    without_effect["tie_word_embeddings"] = "the reference's whole model has no embeddings to tie"
    return Entries(
        read_json("janusflow-tiny/config.json"),
        FLOW.read_config,
        FLOW.sections,
        followed | body[0] | vision[0],
        refused | body[1] | vision[1],
        without_effect | body[2] | vision[2],
    )


TRANSFORMERS_CONTENT: Json = {
    "model_type": "janus",
    "tie_word_embeddings": False,
    "image_token_id": 5,
    "text_config": read_json("janus-pro-tiny/config.json")["language_config"],
    "vision_config": {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "image_size": 64,
        "projection_dim": 64,
        "num_image_tokens": 16,
    },
    "vq_config": {
        "num_embeddings": 128,
        "base_channels": 32,
        "latent_channels": 32,
        "projection_dim": 64,
        "image_token_embed_dim": 64,
    },
}


def transformers() -> Entries:
    """The conversions of deepseek-community."""
    body = llama("text_config")
    followed = {
        **with_prefix(
            "vision_config",
            {
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "mlp_ratio": 2,
                "depth": 3,
                "layer_norm_eps": 1e-5,
            },
        ),
        **with_prefix(
            "vq_config",
            {
                "embed_dim": 4,
                "num_embeddings": 256,
                "latent_channels": 16,
                "base_channels": 64,
                "channel_multiplier": [1, 2, 2, 2, 4],
                "num_res_blocks": 1,
                "num_hidden_layers": 3,
            },
        ),
        "tie_word_embeddings": True,
        "text_config.tie_word_embeddings": True,
    }
    refused = {
        **with_prefix(
            "vision_config",
            {
                "hidden_size": 50,
                "image_size": 96,
                "patch_size": 8,
                "num_image_tokens": 576,
                "projection_dim": 128,
                "num_channels": 4,
                "hidden_act": "relu",
                "attention_bias": False,
                "use_qk_norm": True,
            },
        ),
        **with_prefix(
            "vq_config",
            {
                "projection_dim": 128,
                "image_token_embed_dim": 128,
                "double_latent": True,
                "in_channels": 4,
                "out_channels": 4,
                "hidden_act": "relu",
            },
        ),
    }
    without_effect = {
        **METADATA,
        "model_type": "chooses the layout",
        "image_token_id": "the placeholder's token is found by its text",
        **{
            f"{part}.{key}": reason
            for part in ("vision_config", "vq_config")
            for key, reason in METADATA.items()
        },
        **dict.fromkeys(("vision_config.model_type", "vq_config.model_type"), CLASS_NAME),
        **with_prefix(
            "vision_config",
            dict.fromkeys(
                ("attention_dropout", "hidden_dropout_rate", "projection_dropout", "initializer_range"),
                TRAINING,
            ),
        ),
        "vq_config.dropout": TRAINING,
        "vq_config.initializer_range": TRAINING,
        "vq_config.num_patches": "transformers computes it from image_size and patch_size",
    }
    return Entries(
        TRANSFORMERS_CONTENT,
        TRANSFORMERS.read_config,
        TRANSFORMERS.sections,
        followed | body[0],
        refused | body[1],
        without_effect | body[2],
    )


def vae() -> Entries:
    """A diffusers folder with JanusFlow's VAE."""
    generation = FLOW.read_config(read_json("janusflow-tiny/config.json")).generation
    return Entries(
        read_json("janusflow-tiny/vae/config.json"),
        lambda content: replace(generation, vae=read_diffusers_config(content)),
        (DIFFUSERS,),
        {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 2, "norm_num_groups": 8},
        {
            "latent_channels": 16,
            "scaling_factor": 0.18215,
            "_class_name": "AutoencoderTiny",
            "act_fn": "relu",
            "in_channels": 4,
            "out_channels": 4,
            "mid_block_add_attention": False,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "shift_factor": 0.1159,
            "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
            "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
            "down_block_types": ["AttnDownEncoderBlock2D"] * 4,
            "up_block_types": ["AttnUpDecoderBlock2D"] * 4,
        },
        {
            "_name_or_path": "tells where the file is from",
            "_diffusers_version": "tells which version wrote the file",
            "sample_size": "a size of tiles, which are not used here",
            "force_upcast": "the VAE is never in fp16",
        },
    )


ENTRIES = {"original": original(), "flow": flow(), "transformers": transformers(), "vae": vae()}
