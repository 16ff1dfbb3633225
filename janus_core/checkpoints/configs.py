"""The original layout's config.json to `JanusConfig` and back."""

from __future__ import annotations

from typing import Any

from ..config import (
    JanusConfig,
    LlamaConfig,
    ProjectorConfig,
    SiglipConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from ..presets import IMAGE_TOKENIZERS, LLAMA_DEFAULTS, VISION_TOWERS

Json = dict[str, Any]


def from_original(config: Json) -> JanusConfig:
    """Reads the original layout's config.json (`model_type: multi_modality`)."""
    vision = vision_config(config["vision_config"]["params"])
    return JanusConfig(
        understanding=UnderstandingConfig(vision, _projector(config["aligner_config"]["params"])),
        body=llama_config(config["language_config"]),
        generation=TokenGenerationConfig(
            vq=_vq(config["gen_vision_config"]),
            aligner=_projector(config["gen_aligner_config"]["params"]),
            head=_head(config["gen_head_config"]["params"]),
            image_size=vision.image_size,
        ),
    )


def vision_config(params: Json) -> SiglipConfig:
    """Reads the vision tower's sizes, from the file or by the tower's name."""
    name = params["model_name"]
    sizes = VISION_TOWERS.get(name, {}) | params
    missing = [key for key in ("width", "layers", "heads", "mlp_ratio", "patch_size") if key not in sizes]
    if missing:
        raise ValueError(
            f"vision_config.params must name a known tower ({', '.join(VISION_TOWERS)}) or give its sizes, "
            f"got {name!r} without {', '.join(missing)}; add these to config.json"
        )
    feature = params.get("select_feature", "same")
    if feature != "same":
        raise ValueError(
            f"vision_config.params.select_feature must be 'same', got {feature!r}; Janus reads all patches"
        )
    layer = params.get("select_layer", -1)
    return SiglipConfig(
        hidden_size=sizes["width"],
        # A negative layer counts from the end: -1 keeps every block.
        num_hidden_layers=sizes["layers"] + layer + 1 if layer < 0 else min(sizes["layers"], layer),
        num_attention_heads=sizes["heads"],
        # Cut as the reference cuts it, but not where the product misses a whole number by a rounding error.
        intermediate_size=int(round(sizes["width"] * sizes["mlp_ratio"], 6)),
        image_size=sizes["image_size"],
        patch_size=sizes["patch_size"],
        layer_norm_eps=sizes.get("layer_norm_eps", 1e-6),
    )


def _projector(params: Json) -> ProjectorConfig:
    kind = params.get("projector_type", "mlp_gelu")
    if kind != "mlp_gelu":
        raise ValueError(
            f"projector_type must be 'mlp_gelu', got {kind!r}; this version builds no other projector"
        )
    return ProjectorConfig(params["input_dim"], params["n_embed"], params.get("depth", 1))


def _vq(config: Json) -> VQConfig:
    kind = config.get("cls", "VQ-16")
    if kind not in IMAGE_TOKENIZERS:
        raise ValueError(
            f"gen_vision_config.cls must be one of {', '.join(IMAGE_TOKENIZERS)}, got {kind!r}; "
            "this version builds no other image tokenizer"
        )
    sizes = IMAGE_TOKENIZERS[kind] | config["params"]
    return VQConfig(
        codebook_size=sizes["image_token_size"],
        codebook_dim=sizes["n_embed"],
        ch=sizes["ch"],
        encoder_ch_mult=tuple(sizes.get("encoder_ch_mult", sizes["ch_mult"])),
        decoder_ch_mult=tuple(sizes.get("decoder_ch_mult", sizes["ch_mult"])),
        num_res_blocks=sizes["num_res_blocks"],
        z_channels=sizes["z_channels"],
        num_groups=sizes["num_groups"],
    )


def _head(params: Json) -> TokenHeadConfig:
    return TokenHeadConfig(params["n_embed"], params["image_token_embed"], params["image_token_size"])


def llama_config(config: Json, default_tie: bool = False) -> LlamaConfig:
    """Reads the body's sizes, which both layouts write alike.

    Args:
        config: `language_config` or `text_config`.
        default_tie: whether text embeddings and head are one where the file is silent.
    """
    sizes: Json = LLAMA_DEFAULTS | {key: value for key, value in config.items() if value is not None}
    rope = sizes.get("rope_parameters") or sizes.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ValueError(
            f"language_config's rope type must be 'default', got {kind!r}; this version scales no positions"
        )
    activation = sizes.get("hidden_act", "silu")
    if activation != "silu":
        raise ValueError(
            f"language_config.hidden_act must be 'silu', got {activation!r}; the body is a Llama"
        )
    heads: int = sizes["num_attention_heads"]
    return LlamaConfig(
        vocab_size=sizes["vocab_size"],
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_hidden_layers=sizes["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=sizes.get("num_key_value_heads", heads),
        head_dim=sizes.get("head_dim", sizes["hidden_size"] // heads),
        rms_norm_eps=sizes["rms_norm_eps"],
        rope_theta=float((sizes | rope)["rope_theta"]),
        max_position_embeddings=sizes["max_position_embeddings"],
        tie_word_embeddings=sizes.get("tie_word_embeddings", default_tie),
    )


def to_original(config: JanusConfig, dtype_name: str) -> Json:
    """Writes the original layout's config.json, every size spelt out.

    Args:
        config: the model.
        dtype_name: of its weights, for example `bfloat16`.
    """
    vision, generation = config.understanding.vision, config.generation
    assert isinstance(generation, TokenGenerationConfig)  # its layout is only chosen for such a model
    vq = generation.vq
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": dtype_name,
        "vision_config": vision_json(vision, "vision"),
        "aligner_config": _projector_json(config.understanding.aligner, "aligner"),
        "gen_aligner_config": _projector_json(generation.aligner, "gen_aligner"),
        "gen_vision_config": {
            "cls": "VQ-16",
            "model_type": "gen_vision",
            "params": {
                "image_token_size": vq.codebook_size,
                "n_embed": vq.codebook_dim,
                "ch": vq.ch,
                "encoder_ch_mult": list(vq.encoder_ch_mult),
                "decoder_ch_mult": list(vq.decoder_ch_mult),
                "num_res_blocks": vq.num_res_blocks,
                "z_channels": vq.z_channels,
                "num_groups": vq.num_groups,
            },
        },
        "gen_head_config": {
            "cls": "vision_head",
            "model_type": "gen_head",
            "params": {
                "n_embed": generation.head.hidden_size,
                "image_token_embed": generation.head.image_token_embed,
                "image_token_size": generation.head.codebook_size,
            },
        },
        "language_config": llama_json(config.body, dtype_name),
    }


def llama_json(body: LlamaConfig, dtype_name: str) -> Json:
    """Writes the body's sizes as the original layouts do (`language_config`)."""
    return {
        "model_type": "llama",
        "torch_dtype": dtype_name,
        "vocab_size": body.vocab_size,
        "hidden_size": body.hidden_size,
        "intermediate_size": body.intermediate_size,
        "num_hidden_layers": body.num_hidden_layers,
        "num_attention_heads": body.num_attention_heads,
        "num_key_value_heads": body.num_key_value_heads,
        "head_dim": body.head_dim,
        "rms_norm_eps": body.rms_norm_eps,
        "rope_theta": body.rope_theta,
        "max_position_embeddings": body.max_position_embeddings,
        "tie_word_embeddings": body.tie_word_embeddings,
    }


def vision_json(vision: SiglipConfig, model_type: str) -> Json:
    """Writes the vision tower's sizes as the original layouts do (`vision_config`)."""
    return {
        "cls": "CLIPVisionTower",
        "model_type": model_type,
        "params": {
            "image_size": vision.image_size,
            "model_name": _tower_name(vision),
            "select_feature": "same",
            "select_layer": -1,
            "layer_norm_eps": vision.layer_norm_eps,
            **_tower_sizes(vision),
        },
    }


def _tower_sizes(vision: SiglipConfig) -> Json:
    return {
        "width": vision.hidden_size,
        "layers": vision.num_hidden_layers,
        "heads": vision.num_attention_heads,
        "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        "patch_size": vision.patch_size,
    }


def _tower_name(vision: SiglipConfig) -> str:
    """The released name of a tower with these sizes, since other programs know it only by that."""
    sizes = _tower_sizes(vision)
    ending = f"_patch{vision.patch_size}_{vision.image_size}"
    known = (name for name, row in VISION_TOWERS.items() if row == sizes and name.endswith(ending))
    return next(known, f"siglip{ending}")


def _projector_json(config: ProjectorConfig, model_type: str) -> Json:
    return {
        "cls": "MlpProjector",
        "model_type": model_type,
        "params": {
            "depth": config.depth,
            "input_dim": config.input_size,
            "n_embed": config.hidden_size,
            "projector_type": "mlp_gelu",
        },
    }
