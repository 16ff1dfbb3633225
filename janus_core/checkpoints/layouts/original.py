"""The layout of deepseek-ai's Janus and Janus-Pro: `model_type: multi_modality` with image tokens."""

from __future__ import annotations

from ...config import (
    JanusConfig,
    ProjectorConfig,
    TokenGenerationConfig,
    TokenHeadConfig,
    UnderstandingConfig,
    VQConfig,
)
from ...presets import IMAGE_TOKENIZERS
from ..keymap import KeyMap, Rule, rename
from . import shared
from .shared import Json


def _read_config(config: Json) -> JanusConfig:
    vision = shared.read_vision(config["vision_config"]["params"])
    head = config["gen_head_config"]["params"]
    return JanusConfig(
        understanding=UnderstandingConfig(vision, _read_projector(config["aligner_config"]["params"])),
        body=shared.read_llama(config["language_config"]),
        generation=TokenGenerationConfig(
            vq=_read_vq(config["gen_vision_config"]),
            aligner=_read_projector(config["gen_aligner_config"]["params"]),
            head=TokenHeadConfig(head["n_embed"], head["image_token_embed"], head["image_token_size"]),
            image_size=vision.image_size,
        ),
    )


def _read_projector(params: Json) -> ProjectorConfig:
    kind = params.get("projector_type", "mlp_gelu")
    if kind != "mlp_gelu":
        raise ValueError(f"projector_type must be 'mlp_gelu', got {kind!r}; no other projector is supported")
    return ProjectorConfig(params["input_dim"], params["n_embed"], params.get("depth", 1))


def _read_vq(config: Json) -> VQConfig:
    kind = config.get("cls", "VQ-16")
    if kind not in IMAGE_TOKENIZERS:
        raise ValueError(
            f"gen_vision_config.cls must be one of {', '.join(IMAGE_TOKENIZERS)}, got {kind!r}; no other "
            "image tokenizer is supported"
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


def _write_config(config: JanusConfig, dtype_name: str) -> Json:
    """Writes every size explicitly, so that no reader depends on defaults."""
    generation = config.generation
    assert isinstance(generation, TokenGenerationConfig)  # the key map covers such models only
    vq, head = generation.vq, generation.head
    return {
        "architectures": ["MultiModalityCausalLM"],
        "model_type": "multi_modality",
        "torch_dtype": dtype_name,
        "vision_config": shared.write_vision(config.understanding.vision, "vision"),
        "aligner_config": _write_projector(config.understanding.aligner, "aligner"),
        "gen_aligner_config": _write_projector(generation.aligner, "gen_aligner"),
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
                "n_embed": head.hidden_size,
                "image_token_embed": head.image_token_embed,
                "image_token_size": head.codebook_size,
            },
        },
        "language_config": shared.write_llama(config.body, dtype_name),
    }


def _write_projector(config: ProjectorConfig, model_type: str) -> Json:
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


_TOWER = "vision_model.vision_tower"
_VQ = "gen_vision_model"

_KEY_MAP = KeyMap(
    name="original",
    rules=(
        Rule((f"{_TOWER}.pos_embed",), "understanding.tower.position_embedding.weight", leading_one=True),
        *rename(
            (f"{_TOWER}.patch_embed.proj.*", "understanding.tower.patch_embed.*"),
            (f"{_TOWER}.*", "understanding.tower.*"),
            ("aligner.*", "understanding.aligner.*"),
            (f"{_VQ}.quantize.embedding.weight", "generation.vq.codebook.weight"),
            (f"{_VQ}.encoder.conv_blocks.#.downsample.*", "generation.vq.encoder.conv_blocks.#.resample.*"),
            (f"{_VQ}.decoder.conv_blocks.#.upsample.*", "generation.vq.decoder.conv_blocks.#.resample.*"),
            (f"{_VQ}.*", "generation.vq.*"),
            ("gen_aligner.*", "generation.aligner.*"),
            ("gen_head.*", "generation.head.*"),
            ("gen_embed.weight", "generation.embed.weight"),
            ("language_model.lm_head.weight", "body.lm_head.weight"),
        ),
        *shared.llama_rules("language_model.model."),
    ),
    dropped={
        f"{_TOWER}.attn_pool.*": shared.ATTENTION_POOLING,
        f"{_VQ}.quantize.codebook_used": "a usage counter from the tokenizer's training",
        "language_model.model.layers.#.self_attn.rotary_emb.inv_freq": shared.ROTARY_TABLE,
    },
)

ORIGINAL = shared.Layout("multi_modality", "gen_vision_config", _read_config, _write_config, _KEY_MAP)
